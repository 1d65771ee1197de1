"""Network dissection as a metric of trials: the dense network once, each pruned one against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from benchsuite import stages
from benchsuite.errors import Unsupported
from benchsuite.keys import content_key
from benchsuite.metrics.dissection.measure import dissect
from benchsuite.metrics.dissection.packing import PackedConcepts, open_concepts
from benchsuite.metrics.dissection.pictures import write_pictures
from benchsuite.metrics.dissection.report import dissection_metrics
from benchsuite.metrics.dissection.result import Dissection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from benchsuite.concepts import ConceptPlugin
    from benchsuite.dense import Bench, Dense
    from benchsuite.metrics.dissection.settings import DissectionSettings
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.tasks import DenseTask, Trial


@dataclass(frozen=True, eq=False)
class DenseDissection:
    """A dense network's dissection, with what its pruned ones need for theirs."""

    concepts: PackedConcepts
    settings: DissectionSettings
    result: Dissection


_OPEN: WeakKeyDictionary[Dense, dict[str, DenseDissection | str]] = WeakKeyDictionary()
"""Of the dense networks in memory, the dissections that have been read."""


def dissect_dense(
    bench: Bench, task: DenseTask, dense: Dense, settings: DissectionSettings
) -> DenseDissection | str:
    """The dissection of a dense network, made once and kept; or why the network has none."""
    known = _OPEN.setdefault(dense, {})
    asked = settings.model_dump_json()
    if asked not in known:
        known[asked] = _stored(bench, task, dense, settings)
    return known[asked]


def _stored(
    bench: Bench, task: DenseTask, dense: Dense, settings: DissectionSettings
) -> DenseDissection | str:
    """The dissection of a dense network from its stage, which is made if it is not there."""
    plugin = cast("ConceptPlugin", bench.registry.create("concepts", settings.concepts, settings.parameters))
    concepts = open_concepts(
        plugin, bench.workplace.data, bench.workplace.run / "stages", limit=settings.samples
    )
    key = content_key(["dissection", task.key, concepts.key, settings.model_dump(mode="json")])
    folder = bench.folder(key)
    with stages.stage(folder) as facts:
        if facts is None:
            facts = {}
            try:
                _measured(bench, dense, dense.model, concepts, settings).save(folder / "dissection.npz")
            except Unsupported as reason:
                facts["unsupported"] = str(reason)
            stages.complete(folder, facts)
    if "unsupported" in facts:
        return str(facts["unsupported"])
    result = Dissection.load(folder / "dissection.npz")
    # The pruned networks are read at the same layers, whatever their resolutions.
    same_layers = settings.model_copy(update={"layers": tuple(layer.name for layer in result.layers)})
    return DenseDissection(concepts, same_layers, result)


def dissect_pruned(
    bench: Bench, trial: Trial, dense: Dense, model: nn.Module, removed: Mapping[str, tuple[int, ...]]
) -> dict[str, float]:
    """The interpretability metrics of a trial's network; empty where the network cannot be dissected.

    Pictures and counts are left in the trial's folder.
    """
    if trial.dissection is None:
        return {}
    before = dissect_dense(bench, trial.dense, dense, trial.dissection)
    if isinstance(before, str):
        return {}
    after = _measured(bench, dense, model, before.concepts, before.settings)
    kept = kept_units(dense.graph, removed)
    folder: Path = bench.folder(trial.key)
    folder.mkdir(parents=True, exist_ok=True)
    after.save(folder / "dissection.npz")
    if trial.dissection.pictures:
        write_pictures(folder, after, before.concepts, before.result, kept)
    return dissection_metrics(after, before.result, kept)


def kept_units(graph: PruningGraph, removed: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """By layer, the dense indices of the units that are left."""
    gone: dict[str, set[int]] = {}
    for group in graph.groups:
        for member in group.members:
            units = (u for position in removed.get(group.name, ()) for u in member.units[position])
            gone.setdefault(member.layer, set()).update(units)
    return {
        layer.name: tuple(u for u in range(layer.units) if u not in gone.get(layer.name, ()))
        for layer in graph.layers
    }


def _measured(
    bench: Bench, dense: Dense, model: nn.Module, concepts: PackedConcepts, settings: DissectionSettings
) -> Dissection:
    return dissect(
        model,
        concepts,
        settings,
        device=bench.device,
        mean=dense.mean,
        std=dense.std,
        input_shape=dense.data.input_shape,
    )
