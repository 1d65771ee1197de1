"""Network dissection as a metric of trials: the dense network once, each pruned one against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from benchsuite.contracts.digests import code_digest, code_libraries
from benchsuite.contracts.named_inputs import NamedInputs
from benchsuite.drawing.dissection import write_pictures
from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import evaluating
from benchsuite.metrics.dissection.followed import unit_sources, units_left
from benchsuite.metrics.dissection.measure import dissect
from benchsuite.metrics.dissection.packing import PackedConcepts, open_concepts
from benchsuite.metrics.dissection.report import dissection_metrics
from benchsuite.metrics.dissection.result import Dissection
from benchsuite.pruning.kept_units import kept_units
from benchsuite.store.files import storing
from benchsuite.store.keys import content_key
from benchsuite.store.stages import Stage
from benchsuite.trials.facts import DissectionFacts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from benchsuite.contracts.concepts import ConceptPlugin
    from benchsuite.metrics.dissection.settings import DissectionSettings
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.trial import Trial
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.worker_context import WorkerContext


@dataclass(frozen=True, eq=False)
class DenseDissection:
    """A dense network's dissection, with what its pruned ones need for theirs."""

    concepts: PackedConcepts
    settings: DissectionSettings
    result: Dissection


_FILE = "dissection.npz"
_OPEN: WeakKeyDictionary[DenseModel, dict[str, DenseDissection | str]] = WeakKeyDictionary()
"""Of the dense networks in memory, the dissections that have been read."""


def dissect_dense(
    worker: WorkerContext, task: DenseTask, dense: DenseModel, settings: DissectionSettings
) -> DenseDissection | str:
    """The dissection of a dense network, made once and kept; or why the network has none."""
    known = _OPEN.setdefault(dense, {})
    asked = settings.model_dump_json(exclude={"each_round"})
    if asked not in known:
        known[asked] = _stored(worker, task, dense, settings)
    return known[asked]


def _stored(
    worker: WorkerContext, task: DenseTask, dense: DenseModel, settings: DissectionSettings
) -> DenseDissection | str:
    """The dissection of a dense network from its stage, which is made if it is not there."""
    plugin = cast("ConceptPlugin", worker.plugins.create("concepts", settings.concepts, settings.parameters))
    concepts = open_concepts(
        plugin,
        worker.configuration.data,
        worker.configuration.run / "stages",
        limit=settings.samples,
        tell=worker.tell,
    )
    code = [code_digest(__name__), code_libraries(__name__)]
    key = content_key(["dissection", *code, task.key, concepts.key, settings.of_a_network])
    folder = worker.folder(key)

    def make() -> DissectionFacts:
        try:
            _measured(worker, dense, dense.model, concepts, settings).save(folder / _FILE)
        except Unsupported as reason:
            return DissectionFacts(unsupported=str(reason))
        return DissectionFacts()

    stage = Stage(folder, DissectionFacts, [_FILE], made_from=dense.content)
    facts = stage.get(make, worker.tell)
    if facts.unsupported is not None:
        return facts.unsupported
    result = Dissection.load(folder / _FILE)
    # The pruned networks are read at the same layers, whatever their resolutions.
    same_layers = settings.model_copy(update={"layers": tuple(layer.name for layer in result.layers)})
    return DenseDissection(concepts, same_layers, result)


@dataclass(frozen=True)
class Interpretability:
    """What dissection says of a trial's network.

    Attributes:
        metrics: the `interpretability/...` metrics.
        notes: for the record's provenance: under "dissection" the `layers` that were read, each with its
            units; under `unsupported` why the network cannot be dissected; under `not_followed` why its
            units cannot be compared with the dense network's.
    """

    metrics: dict[str, float]
    notes: dict[str, Any]


def dissect_pruned(
    worker: WorkerContext,
    trial: Trial,
    dense: DenseModel,
    model: nn.Module,
    removed: Mapping[str, tuple[int, ...]],
) -> Interpretability:
    """The interpretability of a trial's network; without metrics where the network cannot be dissected.

    Pictures and counts are left in the trial's folder.
    """
    if trial.dissection is None:
        return Interpretability({}, {})
    before = dissect_dense(worker, trial.dense, dense, trial.dissection)
    if isinstance(before, str):
        return Interpretability({}, {"dissection": {"unsupported": before}})
    after = _measured(worker, dense, model, before.concepts, before.settings)
    kept = kept_in_outputs(dense, before.result, after, removed)
    lost = [name for name, left in kept.items() if left is None]
    folder: Path = worker.folder(trial.key)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    after.save(folder / _FILE)
    if trial.dissection.pictures:
        followed = {name: left for name, left in kept.items() if left is not None}
        write_pictures(folder, after, before.concepts, None if lost else before.result, followed)
    notes: dict[str, Any] = {
        "layers": [
            {"name": new.name, "units": new.units, "units_dense": old.units}
            for old, new in zip(before.result.layers, after.layers, strict=True)
        ]
    }
    if lost:
        notes["not_followed"] = (
            f"the units of {', '.join(lost)} cannot be followed from the dense network into the pruned one"
        )
    return Interpretability(dissection_metrics(after, before.result, kept), {"dissection": notes})


def dissect_round(
    worker: WorkerContext,
    trial: Trial,
    dense: DenseModel,
    model: nn.Module,
    removed: Mapping[str, tuple[int, ...]],
) -> dict[str, float]:
    """The interpretability of the network after a round, where the suite asks for it; leaves no files."""
    if trial.dissection is None or not trial.dissection.each_round:
        return {}
    before = dissect_dense(worker, trial.dense, dense, trial.dissection)
    if isinstance(before, str):
        return {}
    after = _measured(worker, dense, model, before.concepts, before.settings)
    return dissection_metrics(after, before.result, kept_in_outputs(dense, before.result, after, removed))


def kept_in_outputs(
    dense: DenseModel,
    before: Dissection,
    after: Dissection,
    removed: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...] | None]:
    """By dissected layer, the dense index of each unit of the pruned network; None where it is not known.

    Args:
        dense: the dense network.
        before: its dissection.
        after: of the pruned network, at the same layers.
        removed: by coupled group, the removed positions.
    """
    by_layer = kept_units(dense.graph, removed)
    units = {layer.name: layer.units for layer in dense.graph.layers}
    units |= {name: units[first] for name, first in dense.graph.shared.items() if first in units}
    gone = {name: set(range(number)).difference(by_layer[name]) for name, number in units.items()}
    found: dict[str, tuple[int, ...] | None] = {}
    outputs = []
    for old, new in zip(before.layers, after.layers, strict=True):
        found[old.name] = by_layer.get(old.name)
        if old.units == new.units:
            found[old.name] = tuple(range(old.units))
        elif old.name not in by_layer:
            outputs.append(old.name)
    if outputs:
        with evaluating(dense.model):
            sources = unit_sources(dense.model, outputs, dense.probe)
        for name, known in sources.items():
            found[name] = None if known is None else units_left(known, gone)
    for layer in after.layers:
        left = found[layer.name]
        if left is not None and len(left) != layer.units:
            found[layer.name] = None
    return found


def _measured(
    worker: WorkerContext,
    dense: DenseModel,
    model: nn.Module,
    concepts: PackedConcepts,
    settings: DissectionSettings,
) -> Dissection:
    shape = dense.data.input_shape
    if isinstance(shape, NamedInputs):
        raise Unsupported(f"dissection needs a network for images; this one's inputs come by name ({shape})")
    return dissect(
        model,
        concepts,
        settings,
        device=worker.device,
        mean=dense.mean,
        std=dense.std,
        input_shape=shape,
    )
