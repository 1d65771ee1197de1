"""Costs against the dense network's, and sparsities against costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.pruning.targets import holds_masks
from benchsuite.publishing.plausibility.oddity import ROUNDING, Oddities, Oddity, is_close, is_whole
from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.store.record import TrialRecord

SPARSITY_TOLERANCE = 0.1
"""How far the achieved sparsity may be from the requested one.

A unit of a small network can be a seventh of its MACs, and a floor for each layer may keep more.
"""
ZEROS_TOLERANCE = 0.01
"""The share of the dense network's weights that may be zero though nothing has masked them."""


def costs(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """Costs that do not fit the dense network's or the sparsities."""
    yield from costs_and_sparsities(record, metrics)
    yield from _files(record, metrics)
    yield from _uncounted(record, metrics)
    params = metrics.get(metric_names.PARAMS_DENSE)
    for name in (metric_names.SCORE_TIES, metric_names.SELECTION_TIES):
        if params is not None and metrics.get(name, 0) > params:
            yield Oddity(f"{name} is above the parameters", f"{metrics[name]} of {params}")
    wanted = record.axes.get("sparsity")
    achieved = metrics.get(metric_names.sparsity(str(record.axes.get("budget"))))
    if not isinstance(wanted, int | float) or achieved is None:
        return
    if not is_close(achieved, wanted, SPARSITY_TOLERANCE):
        yield Oddity("the sparsity is far from the one requested", f"{achieved:.3f} instead of {wanted}")


def costs_and_sparsities(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """Costs and sparsities that do not fit each other, whatever sparsity was asked for."""
    for budget in ("params", "macs"):
        yield from _budget(budget, record, metrics)
    flops, macs = metrics.get(metric_names.FLOPS), metrics.get(metric_names.MACS)
    if flops is not None and macs is not None and flops != 2 * macs:
        yield Oddity("cost/flops is not twice cost/macs", f"{flops} and {macs}")
    yield from _units(record, metrics)


def _budget(budget: str, record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    left, dense = metrics.get(metric_names.cost(budget)), metrics.get(metric_names.cost(budget, "dense"))
    if left is None or dense is None:
        return
    masked, whole = _is_masked(record), _keeps_units(record)
    if left > dense:
        yield Oddity(f"cost/{budget} is above the dense network's", f"{left} > {dense}")
    elif whole and left != dense:
        yield Oddity(
            f"cost/{budget} is not the dense network's, though weights are masked", f"{left}, {dense}"
        )
    removed = metrics.get(metric_names.sparsity(budget))
    if removed is None or not dense:
        return
    if not masked and not is_close(1 - left / dense, removed):
        detail = f"{removed} where {left} of {dense} are left"
        yield Oddity(f"sparsity/{budget} does not fit the costs", detail)
    if masked and removed < 1 - left / dense and not is_close(1 - left / dense, removed):
        yield Oddity(
            f"sparsity/{budget} does not fit the costs", f"{removed} where {left} of {dense} are left"
        )
    if masked and not is_whole(removed * dense):
        yield Oddity(f"sparsity/{budget} is no share of the dense network's", f"{removed} of {dense}")
    nonzero = metrics.get(metric_names.cost(budget, "nonzero"))
    if nonzero is not None:
        yield from _nonzero(budget, nonzero, dense * (1 - removed) if masked else left, dense, record)


def _nonzero(budget: str, nonzero: float, kept: float, dense: float, record: TrialRecord) -> Oddities:
    """What is not zero is what was kept, less the weights that are zero by themselves."""
    # Before any training whole layers may be zero, by how they are initialised.
    zeros = dense if record.axes.get("schedule") == "at-init" else ZEROS_TOLERANCE * dense
    if not -zeros <= nonzero - kept <= ROUNDING * dense:
        kind = (
            f"sparsity/{budget} does not fit the costs" if _is_masked(record) else "more is zero than can be"
        )
        yield Oddity(kind, f"cost/{budget}_nonzero is {nonzero}, kept are {kept:g} of {dense}")


def _units(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """Whoever loses a unit loses parameters; where units are what is removed, the reverse holds too."""
    units, params = metrics.get(metric_names.SPARSITY_UNITS), metrics.get(metric_names.SPARSITY_PARAMS)
    if units is None or params is None:
        return
    if (units > 0 and params == 0) or (units == 0 and params > 0 and not _is_masked(record)):
        yield Oddity("sparsity/units does not fit sparsity/params", f"{units} and {params}")


def _files(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """A file holds at least a byte of each parameter, and nothing that the dense network's does not."""
    size, dense = metrics.get(metric_names.FILE_BYTES), metrics.get(metric_names.FILE_BYTES_DENSE)
    params, params_dense = metrics.get(metric_names.PARAMS), metrics.get(metric_names.PARAMS_DENSE)
    for file, held in ((size, params), (dense, params_dense)):
        if file is not None and held is not None and file < held:
            yield Oddity(
                "a network's file is smaller than its parameters", f"{file} bytes, {held} parameters"
            )
    if size is None or dense is None:
        return
    if _keeps_units(record) and size != dense:
        yield Oddity(
            "cost/file_bytes is not the dense network's, though weights are masked", f"{size}, {dense}"
        )
    if params is not None and params_dense is not None and dense - size < params_dense - params:
        yield Oddity("cost/file_bytes does not fit the parameters removed", f"{size} of {dense} bytes")


def _uncounted(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    number = metrics.get(metric_names.UNCOUNTED_MODULES)
    named = record.provenance.get("uncounted_modules", [])
    if number is not None and isinstance(named, list) and number != len(named):
        yield Oddity(
            "cost/uncounted_modules is not the number of those named", f"{number}, {len(named)} named"
        )


def _is_masked(record: TrialRecord) -> bool:
    """Whether weights are masked, perhaps beside units that are removed."""
    return holds_masks(record.axes.get("granularity"))


def _keeps_units(record: TrialRecord) -> bool:
    return record.axes.get("granularity") == "weight"
