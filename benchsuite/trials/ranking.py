"""What every criterion of a run says of the units of each dense network: a file of the run directory.

`ranking/<train key>/scores.json` holds, by layer and criterion, the scores, the most important units and the
least important ones; `first-and-last.csv` has these units as a table. How alike two criteria rank stands in
`agreement/` (`benchsuite.trials.agreement`).
"""

from __future__ import annotations

import csv
import io
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from benchsuite.contracts.digests import code_digest
from benchsuite.store.files import own_directory, read_regular, write_atomically
from benchsuite.store.keys import content_key, is_content_key
from benchsuite.store.texts import read_json
from benchsuite.trials.unit_scores import complete_scorings, read_all, scorings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.trial import Trial
    from benchsuite.store.run_directory import RunDirectory
    from benchsuite.trials.unit_scores import UnitScores

FOLDER, SCORES, TABLE = "ranking", "scores.json", "first-and-last.csv"
WIDEST = 512
"""Up to so many units of a layer all scores are kept; of a wider one `POINTS` of the sorted ones."""
POINTS = 100
_LARGEST = 64 << 20
_logger = logging.getLogger(__name__)

Place = tuple[NonNegativeInt, FiniteFloat]
"""A unit's number in its layer, and its score."""


@dataclass(frozen=True)
class CriterionRanking:
    """What one criterion says of a layer.

    Attributes:
        scores: in the order of the layer's units, five digits each; of a wide layer some of the sorted ones,
            the highest first.
        top: the most important units, the best first.
        bottom: the least important ones, the worst first.
        tied_top: how many further units have the score of the last one of `top`.
        tied_bottom: likewise.
    """

    scores: tuple[FiniteFloat, ...]
    top: tuple[Place, ...]
    bottom: tuple[Place, ...]
    tied_top: NonNegativeInt
    tied_bottom: NonNegativeInt


@dataclass(frozen=True)
class LayerRanking:
    """What the criteria say of one layer.

    Attributes:
        layer: its name.
        units: how many of its units can be removed; the others are in no ranking.
        k: how many units `top` and `bottom` list.
        sorted: whether `scores` are some of the sorted ones.
        numbers: the units that can be removed; None where all can, or the layer is wide.
        criteria: by label, what those say that have scores for the layer.
    """

    layer: str
    units: Annotated[int, Field(ge=2)]
    k: PositiveInt
    sorted: bool
    numbers: tuple[NonNegativeInt, ...] | None
    criteria: dict[str, CriterionRanking]


@dataclass(frozen=True)
class NetworkRanking:
    """What the criteria say of one dense network.

    Attributes:
        key: what it was made of; empty where scores were left out.
        dataset: the data set's label.
        model: the model's label.
        seed: the seed of its training.
        criteria: labels of the scorers.
        layers: those with two units or more that can be removed.
    """

    key: str
    dataset: str
    model: str
    seed: int
    criteria: tuple[str, ...]
    layers: tuple[LayerRanking, ...]


_STORED = TypeAdapter(NetworkRanking)


def ranking_folder(run: Path, train_key: str) -> Path:
    """Where the files of a dense network's ranking are."""
    return run / FOLDER / train_key


def update_rankings(
    run: RunDirectory, trials: Iterable[Trial], tell: Callable[[str], None] = _logger.warning
) -> None:
    """Write what the criteria say of every dense network whose scores are new.

    Which scores these are says `benchsuite.trials.unit_scores`. Damaged scores are told of and left out.
    """
    for dense, keys in scorings(trials).values():
        complete = complete_scorings(run, keys)
        key = content_key({"code": code_digest(__name__), "scores": complete})
        known = stored_ranking(run.path, dense.key)
        if not complete or (known is not None and known.key == key):
            continue
        stages = {label: keys[label] for label in complete}
        scores = read_all(run, dense, stages, "ranking of units", tell)
        if scores:
            found = _ranking(key if len(scores) == len(complete) else "", dense, scores)
            own_directory(run.path / FOLDER)
            own_directory(ranking_folder(run.path, dense.key))
            write_atomically(ranking_folder(run.path, dense.key) / TABLE, _csv(found))
            # The file that holds the key comes last: where it is, the other is there too.
            write_atomically(ranking_folder(run.path, dense.key) / SCORES, json.dumps(asdict(found)))


def stored_ranking(run: Path, train_key: str) -> NetworkRanking | None:
    """The ranking of a dense network in a run directory; None where none can be used.

    The file may have been edited: places are of units that the layer has, and lists as long as they say.
    """
    if not is_content_key(train_key):
        return None
    try:
        data = read_json(read_regular(ranking_folder(run, train_key) / SCORES, _LARGEST, follow=False))
        found = _STORED.validate_python(data)
    except (OSError, ValueError, ValidationError):
        return None
    return found if all(_fits(layer, found.criteria) for layer in found.layers) else None


def _fits(layer: LayerRanking, criteria: tuple[str, ...]) -> bool:
    scores = POINTS if layer.sorted else layer.units
    if not layer.criteria or not layer.criteria.keys() <= set(criteria):
        return False
    numbers = layer.numbers
    if numbers is not None and (len(numbers) != layer.units or len(set(numbers)) != layer.units):
        return False
    return all(
        len(each.scores) == scores
        and all(len(ends) == layer.k <= layer.units for ends in (each.top, each.bottom))
        and all(_are_units(layer, ends) for ends in (each.top, each.bottom))
        for each in layer.criteria.values()
    )


def _are_units(layer: LayerRanking, ends: Sequence[tuple[int, float]]) -> bool:
    """Whether these are different units of the layer."""
    units = [unit for unit, _ in ends]
    known = layer.numbers
    if known is None and not layer.sorted:
        known = tuple(range(layer.units))  # of a wide layer nobody knows which units can be removed
    return len(set(units)) == len(units) and min(units) >= 0 and (known is None or set(units) <= set(known))


def _csv(ranking: NetworkRanking) -> str:
    """Of each layer and criterion the most important units and the least important ones, place by place."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["layer", "criterion", "place", "first", "first_score", "last", "last_score"])
    for layer in ranking.layers:
        for label, each in layer.criteria.items():
            for place, (top, bottom) in enumerate(zip(each.top, each.bottom, strict=True), start=1):
                writer.writerow([layer.layer, label, place, *top, *bottom])
    return out.getvalue()


def _ranking(key: str, dense: DenseTask, scores: Mapping[str, Mapping[str, UnitScores]]) -> NetworkRanking:
    names = dict.fromkeys(name for of_one in scores.values() for name in of_one)
    layers = (_layer(name, {label: s[name] for label, s in scores.items() if name in s}) for name in names)
    return NetworkRanking(
        key,
        dense.dataset.label,
        dense.model.label,
        dense.seed,
        tuple(scores),
        tuple(layer for layer in layers if layer is not None),
    )


def _layer(name: str, scores: Mapping[str, UnitScores]) -> LayerRanking | None:
    from benchsuite.metrics.agreement import top_size

    one = next(iter(scores.values()))
    units = one.values.size
    if units < 2:
        return None
    wide, k = units > WIDEST, top_size(units)
    criteria = {label: _criterion(each, k, wide=wide) for label, each in scores.items()}
    return LayerRanking(name, units, k, wide, None if wide else one.units, criteria)


def _criterion(scores: UnitScores, k: int, *, wide: bool) -> CriterionRanking:
    import numpy as np

    from benchsuite.metrics.unit_ranking import both_ends

    values = np.ravel(scores.values)
    numbers = range(len(values)) if scores.units is None else scores.units
    top, bottom = both_ends(values, k)

    def places(units: Iterable[int]) -> tuple[tuple[int, float], ...]:
        return tuple((int(numbers[unit]), _short(float(values[unit]))) for unit in units)

    shown = values
    if wide:
        shown = np.sort(values)[::-1][np.linspace(0, len(values) - 1, POINTS).round().astype(int)]
    return CriterionRanking(
        tuple(_short(float(score)) for score in shown),
        places(top.units),
        places(bottom.units),
        top.tied,
        bottom.tied,
    )


def _short(score: float) -> float:
    """Five digits are more than a bar can show."""
    return float(f"{score:.5g}")
