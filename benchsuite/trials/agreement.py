"""How alike the criteria of a suite rank the units of each dense network: files of the run directory.

`agreement/<train key>.json` holds the means over layers, `.csv` Kendall's tau as a matrix, `.layers.json`
each layer by itself with the criteria's sorted shares of importance, `.pairs.csv` each pair on each layer.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from benchsuite.contracts.digests import code_digest
from benchsuite.store.files import read_regular, write_atomically
from benchsuite.store.keys import content_key
from benchsuite.store.run_directory import RunDirectory
from benchsuite.store.texts import read_json
from benchsuite.trials.unit_scores import complete_scorings, read_all, scorings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from benchsuite.metrics.agreement import Agreement
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.trial import Trial
    from benchsuite.trials.unit_scores import Scores, UnitScores

Matrix = tuple[tuple[float | None, ...], ...]

FOLDER, PAIRS = "agreement", ".pairs.csv"
_POINTS = 100
_ROUNDING = 1e-9
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkAgreement:
    """Every pair of criteria on one dense network, as plain data.

    Attributes:
        dataset: the data set's label.
        model: the model's label.
        seed: the seed of its training.
        criteria: labels of the scorers, the order of rows and columns.
        tau: Kendall's tau-b, mean over the layers that both serve; None where there is none.
        overlap: the share of the top units that both have in common, mean over layers.
        chance: the overlap that chance gives.
    """

    dataset: str
    model: str
    seed: int
    criteria: tuple[str, ...]
    tau: Matrix
    overlap: Matrix
    chance: Matrix


@dataclass(frozen=True)
class StoredLayer:
    """Every pair of criteria on one layer, as plain data.

    Attributes:
        layer: its name.
        units: how many scores it has.
        k: how many of the top units are compared.
        criteria: those that have scores for the layer, the order of rows and columns.
        tau: Kendall's tau-b; None where it is not defined.
        overlap: the share of the top k that both have in common.
    """

    layer: str
    units: int
    k: int
    criteria: tuple[str, ...]
    tau: Matrix
    overlap: Matrix


_STORED = TypeAdapter(NetworkAgreement)
_LAYERS = TypeAdapter(tuple[StoredLayer, ...])
_LARGEST = 64 << 20


def update_agreement(
    run: RunDirectory, trials: Iterable[Trial], tell: Callable[[str], None] = _logger.warning
) -> None:
    """Compare the criteria on every dense network whose scores are new, and write its files.

    What is compared are the scores of units of the trained network, of each criterion the first draw;
    a weight criterion by its sums over units. Networks with fewer than two scored criteria have no files.
    Damaged scores are told of and left out.
    """
    for dense, keys in scorings(trials).values():
        complete = complete_scorings(run, keys)
        if len(complete) < 2:
            continue
        base = _base(run, dense.key)
        paths = [base.with_suffix(suffix) for suffix in (".json", ".csv", ".layers.json", PAIRS)]
        key = _key(complete)
        if _stored_key(paths[0]) != key:
            stages = {label: keys[label] for label in complete}
            scores = read_all(run, dense, stages, "comparison of criteria", tell)
            if len(scores) > 1:
                _write(paths, key if len(scores) == len(complete) else "", dense, _values(scores))


def stored_agreements(runs: Iterable[Path], train_keys: Iterable[str]) -> list[NetworkAgreement]:
    """The agreements of these dense networks in run directories; of one network's that of most criteria.

    Args:
        runs: run directories; anything else has none.
        train_keys: content keys of the networks' training stages.
    """
    found: dict[str, NetworkAgreement] = {}
    for run, key in itertools.product(runs, dict.fromkeys(train_keys)):
        data = _read(_base(RunDirectory(run), key).with_suffix(".json"))
        network = None if data is None else _network(data)
        if network is not None and (key not in found or len(found[key].criteria) < len(network.criteria)):
            found[key] = network
    return list(found.values())


def stored_layers(run: Path, train_key: str) -> tuple[StoredLayer, ...]:
    """The comparison of each layer of a dense network in a run directory; empty where it cannot be read."""
    path = _base(RunDirectory(run), train_key).with_suffix(".layers.json")
    try:
        found = _LAYERS.validate_python(read_json(read_regular(path, _LARGEST)))
    except (OSError, ValueError, ValidationError):
        return ()
    return found if all(map(_is_whole, found)) else ()


def _is_whole(layer: StoredLayer) -> bool:
    """Whether its numbers may be those of a comparison: the file may have been edited."""
    count = len(layer.criteria)
    tables = (layer.tau, layer.overlap)
    if not 1 <= layer.k <= layer.units or any(
        len(table) != count or any(len(row) != count for row in table) for table in tables
    ):
        return False
    return _is_within(layer.tau, -1) and _is_within(layer.overlap, 0)


def _base(run: RunDirectory, train_key: str) -> Path:
    return run.path / FOLDER / train_key


def _key(scorings: Mapping[str, str]) -> str:
    """What the comparison is made of: the contents of the scores and the code that compares."""
    return content_key({"code": code_digest(__name__), "scores": scorings})


def _read(path: Path) -> dict[str, Any] | None:
    """A stored comparison, or None where it is absent or cannot be read: it can be made again."""
    try:
        data = read_json(read_regular(path))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _network(data: Mapping[str, Any]) -> NetworkAgreement | None:
    """A stored comparison as it may be shown, or None where it is none: the file may have been edited."""
    try:
        network = _STORED.validate_python(data)
    except ValidationError:
        return None
    count = len(network.criteria)
    tables = (network.tau, network.overlap, network.chance)
    if any(len(table) != count or any(len(row) != count for row in table) for table in tables):
        return None
    return network if all(map(_is_within, tables, (-1, 0, 0))) else None


def _is_within(table: Matrix, least: float) -> bool:
    """Whether all numbers of a table are from `least` to 1, but for rounding."""
    numbers = [number for row in table for number in row if number is not None]
    return all(least - _ROUNDING <= number <= 1 + _ROUNDING for number in numbers)


def _stored_key(path: Path) -> str | None:
    data = _read(path)
    return None if data is None or _network(data) is None else data.get("key")


def _values(scores: Mapping[str, Mapping[str, UnitScores]]) -> dict[str, dict[str, Scores]]:
    return {label: {layer: each.values for layer, each in of_one.items()} for label, of_one in scores.items()}


def _write(paths: list[Path], key: str, dense: DenseTask, scores: dict[str, dict[str, Scores]]) -> None:
    from benchsuite.metrics.agreement import compare_criteria

    found = compare_criteria(scores)
    network = NetworkAgreement(
        dense.dataset.label,
        dense.model.label,
        dense.seed,
        found.criteria,
        _plain(found.tau),
        _plain(found.overlap),
        _plain(found.chance),
    )
    summary, table, layers, pairs = paths
    write_atomically(table, _csv(network))
    write_atomically(pairs, _pairs_csv(found))
    write_atomically(layers, json.dumps(_layers(found, scores)))
    # The file that holds the key comes last: where it is, the others are there too.
    write_atomically(summary, json.dumps({"key": key, **asdict(network)}))


def _csv(network: NetworkAgreement) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["Kendall's tau", *network.criteria])
    for label, row in zip(network.criteria, network.tau, strict=True):
        writer.writerow([label, *("" if tau is None else tau for tau in row)])
    return out.getvalue()


def _pairs_csv(found: Agreement) -> str:
    """Of each layer and pair of criteria how many of the first k units they have in common."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["layer", "units", "k", "criterion", "other", "in_common", "by_chance", "tau"])
    for each in found.layers:
        chance = round(each.k**2 / each.units, 4)
        tau, overlap = _plain(each.tau), _plain(each.overlap * each.k)
        for i, j in itertools.combinations(range(len(each.criteria)), 2):
            pair = each.criteria[i], each.criteria[j]
            numbers = overlap[i][j], chance, "" if tau[i][j] is None else tau[i][j]
            writer.writerow([each.layer, each.units, each.k, *pair, *numbers])
    return out.getvalue()


def _layers(found: Agreement, scores: dict[str, dict[str, Scores]]) -> list[dict[str, Any]]:
    return [
        {
            "layer": each.layer,
            "units": each.units,
            "k": each.k,
            "criteria": each.criteria,
            "tau": _plain(each.tau),
            "overlap": _plain(each.overlap),
            "shares": {label: _shares(scores[label][each.layer]) for label in each.criteria},
        }
        for each in found.layers
    ]


def _shares(scores: Scores) -> list[float]:
    """The sorted shares of importance; of a wide layer 100 of them, evenly spread from first to last."""
    import numpy as np

    from benchsuite.metrics.agreement import sorted_shares

    shares = sorted_shares(scores)
    if len(shares) > _POINTS:
        shares = shares[np.linspace(0, len(shares) - 1, _POINTS).round().astype(int)]
    return [float(f"{share:.4g}") for share in shares]


def _plain(matrix: npt.NDArray[np.float64]) -> Matrix:
    """Four decimals, None for what is not a number."""
    return tuple(tuple(round(x, 4) if x == x else None for x in row) for row in matrix.tolist())
