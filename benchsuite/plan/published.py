"""The cells of a suite that its published values stand beside, found before any work."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from benchsuite.contracts.model import ModelPlugin
from benchsuite.errors import UsageError, suggestion
from benchsuite.plan.contenders import contenders, decided_in, serves
from benchsuite.plan.matrix import recoveries
from benchsuite.pruning.targets import LAYERS
from benchsuite.store import metric_names
from benchsuite.suite.published import AXES, DEFAULTS
from benchsuite.suite.toml_source import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from benchsuite.contracts.layers import Granularity
    from benchsuite.metrics.metric import Metric
    from benchsuite.plan.contenders import Contender
    from benchsuite.registry.registry import Registry
    from benchsuite.scoring.scorer import Scorer
    from benchsuite.suite import ModelRef, PublishedValue, Suite, Workload

_PLUGINS = ("dataset", "model", "scorer")
_OF_ONE = ("dataset", "model", "scorer", "sparsity")
"""A published value is of one of each; of the other axes it may leave open what its source does not say."""


class _NoCell(Exception):  # noqa: N818 - what was found, told with its line further up
    """A published value without a cell: which axis is wrong, and how."""

    def __init__(self, axis: str, message: str) -> None:
        super().__init__(message)
        self.axis = axis


def with_cells(suite: Suite, registry: Registry, path: Path) -> Suite:
    """The suite with its published values matched: names as in records, and the axes that are not left open.

    Args:
        suite: a suite whose own values are valid.
        registry: its plugins.
        path: its file, for messages with lines.

    Raises:
        UsageError: a published value stands beside no cell of the suite, or it is not clear beside which.
    """
    if not suite.reference:
        return suite
    matrix, found, wrong = _Matrix(suite, registry), [], []
    for number, reference in enumerate(suite.reference):
        try:
            found.append(reference.model_copy(update=matrix.cell_of(reference)))
        except _NoCell as error:
            wrong.append((number, error))
    if wrong:
        source = read_toml(path)
        raise UsageError(
            "\n".join(
                f"{path}:{source.line_of(('reference', number, error.axis))}: "
                f"reference[{number}]{f'.{error.axis}' if error.axis else ''}: {error}"
                for number, error in wrong
            )
        )
    return suite.model_copy(update={"reference": found})


@dataclass(frozen=True)
class _Matrix:
    """The axes of a suite's cells, without seeds and draws, and without a look at any data."""

    suite: Suite
    registry: Registry

    def cell_of(self, reference: PublishedValue) -> dict[str, Any]:
        """The axes of a published value, with those that it leaves open and that have one value here."""
        self._check_metric(reference.metric)
        wanted = {axis: self._meant(axis, value) for axis, value in reference.cell.items()}
        seed = wanted.pop("seed", None)
        if seed is not None and seed not in self.suite.suite.seeds:
            raise _NoCell("seed", _without("seed", seed, self.suite.suite.seeds))
        of_cells = reference.name is None and not reference.is_dense
        axes = [axis for axis in AXES if axis != "seed"] if of_cells else ["dataset", "model"]
        values: dict[str, dict[Any, None]] = {axis: {} for axis in axes}
        for cell in self._cells(wanted) if of_cells else self._nets(wanted):
            for axis, known in values.items():
                known[cell[axis]] = None
        if not all(values.values()):
            raise self._no_cell(wanted)
        if reference.name is not None:
            if wanted.keys() - {"dataset", "model"} and next(self._cells(wanted), None) is None:
                raise self._no_cell(wanted)
            if len(values["model"]) > 1:
                del values["model"]
        for axis in _OF_ONE:
            if len(several := values.get(axis, {})) > 1:
                raise _NoCell(
                    "", f"say of which {axis} the value is: the suite has {', '.join(map(str, several))}"
                )
        alone = {axis: next(iter(known)) for axis, known in values.items() if len(known) == 1}
        return wanted | alone

    def _check_metric(self, metric: str) -> None:
        """Raise `_NoCell` for a quantity that no metric plugin of the suite measures."""
        if not metric.startswith(metric_names.MEASURED):
            return
        name, _, what = metric.removeprefix(metric_names.MEASURED).partition("/")
        plugins = {ref.name_in_records: ref for ref in self.suite.metrics.plugins}
        if name not in plugins:
            raise _NoCell("metric", f"this suite measures no {name!r}{suggestion(name, plugins)}")
        quantities = cast("type[Metric]", self.registry.get("metric", plugins[name].name)).quantities
        quantity = what.removesuffix("_dense").partition("/")[0]
        if quantity not in quantities:
            raise _NoCell("metric", f"{name} measures no {quantity!r}{suggestion(quantity, quantities)}")

    def _meant(self, axis: str, value: Any) -> Any:
        """The name of records that is meant: a plugin's alone stands for its only setting in the suite."""
        if axis not in _PLUGINS:
            return value
        known = self._known(axis)
        if value.endswith(DEFAULTS):
            return value.removesuffix(DEFAULTS)
        with_name = [each for each in known if each.startswith(f"{value}(")] if value not in known else []
        if len(with_name) > 1:
            raise _NoCell(axis, f"say which of {', '.join(with_name)} is meant by {value!r}")
        return with_name[0] if with_name else value

    def _no_cell(self, wanted: Mapping[str, Any]) -> _NoCell:
        for axis, value in wanted.items():
            known = self._known(axis)
            if value not in known:
                return _NoCell(axis, _without(axis, value, known))
        named = ", ".join(f"{axis} = {value}" for axis, value in wanted.items())
        return _NoCell("", f"a reference without a cell: the suite has each of {named}, but no cell with all")

    def _known(self, axis: str) -> list[Any]:
        """Every value of an axis."""
        if axis == "scorer":
            return list(dict.fromkeys(_label(each) for each in self._contenders()))
        if axis in ("dataset", "model"):
            return list(dict.fromkeys(net[axis] for net in self._nets({})))
        return list(dict.fromkeys(cell[axis] for cell in self._cells({})))

    def _contenders(self) -> Iterable[Contender]:
        return contenders(self.suite, self.registry)

    def _nets(self, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Every data set with a model, of those wanted."""
        for workload, model in self._pairs():
            net = {"dataset": workload.dataset.label, "model": model.label}
            if _agrees(net, wanted):
                yield net

    def _pairs(self) -> Iterator[tuple[Workload, ModelRef]]:
        return ((workload, model) for workload in self.suite.workload for model in workload.models)

    def _cells(self, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Every cell that agrees with what is wanted, without its seed and draw."""
        pruning = self.suite.pruning
        for workload, model in self._pairs():
            net = {"dataset": workload.dataset.label, "model": model.label}
            if not _agrees(net, wanted):
                continue
            for contender in self._contenders():
                label = {"scorer": _label(contender)}
                if not _agrees(label, wanted):
                    continue
                for amount in self._amounts(workload, model, contender):
                    for scope, budget in itertools.product(pruning.scope, pruning.budget):
                        cell = {**net, **label, **amount, "scope": scope, "budget": budget}
                        if _agrees(cell, wanted):
                            yield cell

    def _amounts(self, workload: Workload, ref: ModelRef, contender: Contender) -> Iterator[dict[str, Any]]:
        """Granularity, sparsity, schedule and epochs of the cells that a criterion has on a network."""
        suite = self.suite
        scorer = cast("type[Scorer]", self.registry.get("scorer", contender.scorer.name))
        model = ref.create(self.registry)
        assert isinstance(model, ModelPlugin)
        recipe = workload.training.applied_to(suite.training.applied_to(type(model).recipe))
        for granularity, schedule, sparsity in itertools.product(
            suite.pruning.granularity, suite.pruning.schedule, suite.suite.sparsities
        ):
            if contender.named or serves(scorer, decided_in(suite, granularity, sparsity)):
                for recovery in recoveries(suite, recipe, schedule):
                    yield {
                        "granularity": self._granularity(granularity, sparsity),
                        "sparsity": sparsity,
                        "schedule": schedule,
                        "recovery_epochs": recovery.epochs,
                    }

    def _granularity(self, granularity: Granularity, sparsity: object) -> str:
        tables = self.suite.pruning.targets if sparsity == LAYERS else ()
        return "+".join(sorted({table.scored(granularity)[1] for table in tables} or {granularity}))


def _agrees(cell: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(wanted.get(axis, value) == value for axis, value in cell.items())


def _label(contender: Contender) -> str:
    """The scorer as records name it."""
    label = contender.scorer.label
    return f"{contender.variant}({label})" if contender.variant else label


def _without(axis: str, value: object, known: Iterable[Any]) -> str:
    there = list(map(str, known))
    hint = suggestion(value, there) if isinstance(value, str) else f"; there are: {', '.join(there[:20])}"
    return f"a reference without a cell: this suite has no {axis} {value!r}{hint}"
