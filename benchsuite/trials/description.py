"""What a run shows of each dense network beside the criteria's rankings: errors by class and feature maps.

The files lie in `ranking/<train key>/`: `network.json` with the numbers, and pictures for people.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from benchsuite.contracts.digests import code_digest
from benchsuite.store.files import read_regular
from benchsuite.store.keys import content_key, is_content_key
from benchsuite.store.stages import content_digest
from benchsuite.store.texts import read_json
from benchsuite.trials.ranking import ranking_folder, stored_ranking
from benchsuite.trials.unit_scores import scorings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.trial import Trial
    from benchsuite.store.run_directory import RunDirectory
    from benchsuite.trials.ranking import LayerRanking, NetworkRanking

NETWORK, MAPS = "network.json", "maps.png"
MOST_LAYERS, MOST_UNITS = 16, 40
"""Feature maps are drawn of so many layers, and of so many units of each."""
_LARGEST = 64 << 20

Units = tuple[tuple[str, tuple[int, ...]], ...]
"""By layer, some of its units."""
Counts = tuple[tuple[NonNegativeInt, ...], ...]


@dataclass(frozen=True)
class DescribeTask:
    """One dense network to be described.

    Attributes:
        dense: the network.
        units: whose feature maps are drawn.
        key: what the description is made of.
    """

    dense: DenseTask
    units: Units
    key: str


@dataclass(frozen=True)
class FeatureMaps:
    """What `maps.png` shows: a row of tiles for each layer, a tile for each unit; first the images.

    Attributes:
        tile: height and width of one map, in pixels.
        split: the split that the images are of.
        classes: the true class of each image; their maps lie one below the other in a tile.
        layers: by row after the first, the layer and its units.
    """

    tile: PositiveInt
    split: str
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    layers: Units


@dataclass(frozen=True)
class Description:
    """A dense network.

    Attributes:
        key: what this was made of.
        classes: class names.
        test: counts of the test split; rows are true classes, columns predicted ones.
        train: the same of the training split, without augmentation, or of a part of it.
        train_samples: how many samples the training split has.
        maps: what the picture shows; None without one.
    """

    key: str
    classes: tuple[str, ...]
    test: Counts
    train: Counts
    train_samples: PositiveInt
    maps: FeatureMaps | None


_STORED = TypeAdapter(Description)


def pending_descriptions(run: RunDirectory, trials: Iterable[Trial]) -> list[DescribeTask]:
    """The dense networks that have a ranking, and a description of before or none."""
    found = []
    for dense, _ in scorings(trials).values():
        ranking, content = stored_ranking(run.path, dense.key), content_digest(run.stage(dense.key))
        if ranking is None or content is None:
            continue
        units = shown_units(ranking)
        code = code_digest("benchsuite.trials.dense_description")
        key = content_key({"code": code, "dense": content, "units": units})
        known = stored_description(run.path, dense.key)
        if known is None or known.key != key:
            found.append(DescribeTask(dense, units, key))
    return found


def shown_units(ranking: NetworkRanking) -> Units:
    """The units that criteria place first and last, in order of their numbers, of some layers.

    In turn the first units of all criteria, their last ones, their second ones and so on, until there are
    `MOST_UNITS`. Of more layers than `MOST_LAYERS` those are taken that are evenly spread.
    """
    layers, last = ranking.layers, len(ranking.layers) - 1
    if len(layers) > MOST_LAYERS:
        places = [round(last * place / (MOST_LAYERS - 1)) for place in range(MOST_LAYERS)]
        layers = tuple(layers[place] for place in places)
    return tuple((layer.layer, _shown(layer)) for layer in layers)


def _shown(layer: LayerRanking) -> tuple[int, ...]:
    ends = (
        [place[0] for place in end]
        for position in range(layer.k)
        for end in zip(*((c.top[position], c.bottom[position]) for c in layer.criteria.values()), strict=True)
    )
    units = dict.fromkeys(itertools.chain.from_iterable(ends))
    return tuple(sorted(itertools.islice(units, MOST_UNITS)))


def stored_description(run: Path, train_key: str) -> Description | None:
    """The description of a dense network in a run directory; None where none can be used."""
    if not is_content_key(train_key):
        return None
    try:
        data = read_json(read_regular(ranking_folder(run, train_key) / NETWORK, _LARGEST, follow=False))
        found = _STORED.validate_python(data)
    except (OSError, ValueError, ValidationError):
        return None
    size = len(found.classes)
    square = all(len(m) == size and all(len(row) == size for row in m) for m in (found.test, found.train))
    return found if square and size else None
