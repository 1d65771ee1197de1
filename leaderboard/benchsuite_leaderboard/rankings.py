"""What the criteria say of the units of each dense network, and its errors: from run directories alone."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.store.files import read_regular
from benchsuite.store.keys import is_content_key
from benchsuite.trials.agreement import stored_layers
from benchsuite.trials.description import MAPS, stored_description
from benchsuite.trials.ranking import SCORES, ranking_folder, stored_ranking
from benchsuite_leaderboard.packed import packed_script

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchsuite.store.record import TrialRecord
    from benchsuite.trials.agreement import StoredLayer
    from benchsuite.trials.description import Description, FeatureMaps
    from benchsuite.trials.ranking import LayerRanking, NetworkRanking

BYTES = 40_000_000
"""Largest total size of the scores, before compression to about a fifth, and pictures that a site shows."""
_PICTURE = 4_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class Overlap:
    """How alike the criteria rank one layer, over all pairs of them.

    Attributes:
        stored: each pair.
        common: units of the top k in common, mean over pairs.
        chance: what two rankings by chance have in common, k^2 / n of n units (the hypergeometric mean).
        tau: Kendall's tau, mean over the pairs that have one; None if none has.
    """

    stored: StoredLayer
    common: float
    chance: float
    tau: float | None


@dataclass(frozen=True, eq=False)
class ShownLayer:
    """One layer of a network; `overlap` is None where fewer than two criteria rank it."""

    ranking: LayerRanking
    overlap: Overlap | None


@dataclass(frozen=True, eq=False)
class ShownNetwork:
    """A dense network with what the run that trained it says of it.

    Attributes:
        train: content key of its training.
        ranking: what each criterion says.
        layers: the same by layer.
        description: errors by class; None if the run kept none.
        maps: what the picture of feature maps shows; None without one.
        picture: that picture, PNG.
    """

    train: str
    ranking: NetworkRanking
    layers: tuple[ShownLayer, ...]
    description: Description | None
    maps: FeatureMaps | None
    picture: bytes

    @property
    def address(self) -> str:
        """Its page within the site."""
        return f"rankings/{self.train}.html"


@dataclass(frozen=True)
class Rankings:
    """The networks of a site.

    Attributes:
        networks: by data set, model and seed.
        left_out: how many more there are, whose scores would make the site too large.
        stamp: changes with what is shown.
    """

    networks: tuple[ShownNetwork, ...] = ()
    left_out: int = 0
    stamp: str = ""


def read_rankings(sources: Iterable[Path], records: Iterable[TrialRecord]) -> Rankings:
    """The networks that records stand on, from those sources that are run directories."""
    keys = dict.fromkeys(str(r.stages["train"]) for r in records if is_content_key(r.stages.get("train")))
    best: dict[str, tuple[Path, NetworkRanking]] = {}
    for run in (source for source in sources if source.is_dir()):
        for key in keys:
            found = stored_ranking(run, key)
            if found is not None and (key not in best or len(found.criteria) > len(best[key][1].criteria)):
                best[key] = run, found
    order = sorted(best, key=lambda key: _order(best[key][1]))
    stamp, left, networks = hashlib.sha256(), BYTES, []
    for key in sorted(order, key=lambda key: best[key][1].seed):
        run, ranking = best[key]
        shown = _network(run, key, ranking)
        left -= (ranking_folder(run, key) / SCORES).stat().st_size + len(shown.picture)
        if left < 0:
            break
        networks.append(shown)
        stamp.update(
            repr((ranking, [each.overlap and each.overlap.stored for each in shown.layers])).encode()
        )
        stamp.update(repr((shown.description, shown.maps)).encode() + shown.picture)
    shown_in_order = tuple(sorted(networks, key=lambda each: _order(each.ranking)))
    return Rankings(shown_in_order, len(order) - len(networks), stamp.hexdigest() if order else "")


def ranking_files(rankings: Rankings) -> dict[str, bytes]:
    """By path within the site, the data that networks' pages load, a script for each layer, and pictures."""
    files: dict[str, bytes] = {}
    for network in rankings.networks:
        places = {label: place for place, label in enumerate(network.ranking.criteria)}
        for number, layer in enumerate(network.layers):
            files[f"rankings/{network.train}-{number}.js"] = packed_script(_data(layer, places))
        if network.maps is not None:
            files[f"rankings/{network.train}.png"] = network.picture
    return files


def _order(ranking: NetworkRanking) -> tuple[str, str, int]:
    return ranking.dataset, ranking.model, ranking.seed


def _network(run: Path, key: str, ranking: NetworkRanking) -> ShownNetwork:
    agreed = {each.layer: each for each in stored_layers(run, key)}
    layers = tuple(ShownLayer(each, _overlap(each, agreed.get(each.layer))) for each in ranking.layers)
    description = stored_description(run, key)
    maps, picture = None, b""
    if description is not None and description.maps is not None:
        picture = _picture(ranking_folder(run, key) / MAPS, description.maps)
        maps = description.maps if picture else None
    return ShownNetwork(key, ranking, layers, description, maps, picture)


def _overlap(layer: LayerRanking, stored: StoredLayer | None) -> Overlap | None:
    """The layer's comparison, if there is one and it is of the same ranking."""
    if stored is None or (stored.units, stored.k) != (layer.units, layer.k) or len(stored.criteria) < 2:
        return None
    if not set(stored.criteria) <= layer.criteria.keys():
        return None
    count = len(stored.criteria)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    common = [number for i, j in pairs if (number := stored.overlap[i][j]) is not None]
    taus = [number for i, j in pairs if (number := stored.tau[i][j]) is not None]
    if len(common) < len(pairs):
        return None
    return Overlap(
        stored,
        layer.k * sum(common) / len(common),
        layer.k**2 / layer.units,
        sum(taus) / len(taus) if taus else None,
    )


def _picture(path: Path, maps: FeatureMaps) -> bytes:
    """The picture of feature maps, if it is one and large enough for what it should show; else nothing."""
    try:
        content = read_regular(path, _PICTURE, follow=False)
    except OSError:
        return b""
    if not content.startswith(_PNG) or len(content) < 24:
        return b""
    width, height = struct.unpack(">II", content[16:24])
    columns = max((len(units) for _, units in maps.layers), default=0)
    rows = (1 + len(maps.layers)) * len(maps.classes)
    return content if (width, height) == (max(1, columns) * maps.tile, rows * maps.tile) else b""


def _data(layer: ShownLayer, places: dict[str, int]) -> dict[str, Any]:
    """A layer as plain data, in which a criterion is its place in the network's list."""
    found: dict[str, Any] = {
        "numbers": layer.ranking.numbers,
        "criteria": [
            {
                "of": places[label],
                "scores": each.scores,
                "top": each.top,
                "bottom": each.bottom,
                "tied": [each.tied_top, each.tied_bottom],
            }
            for label, each in layer.ranking.criteria.items()
        ],
    }
    if layer.overlap is not None:
        stored = layer.overlap.stored
        found["pairs"] = {
            "of": [places[label] for label in stored.criteria],
            "overlap": stored.overlap,
            "tau": stored.tau,
        }
    return found
