"""Whether and how exactly a network can be pruned: one line of the table of supported models."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from benchsuite.errors import BenchsuiteError, Unsupported
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import PruningSettings
from benchsuite.pruning.surgery import check_surgery, remove_units
from benchsuite.pruning.tracing.proof import randomise
from benchsuite.pruning.tracing.trace import TRACE_SECONDS, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.selection import UnitSelection

_SEED = 0


@dataclass(frozen=True)
class SurveyLine:
    """The result of pruning one network.

    Attributes:
        status: "ok", "unsupported", or "wrong" if the pruned network computes something else.
        reason: why it is not ok, or which units cannot be removed and why; empty otherwise.
        max_difference: largest absolute difference between the pruned and the masked network, or None.
        relative_difference: the same relative to the largest output.
        macs_removed: achieved share of the MACs removed.
        prunable_units: share of the units of all layers except the output that can be removed.
        groups: number of coupled groups.
        trace_seconds: processor time for finding the groups; the same as the time with one thread on an idle
            machine.
    """

    status: Literal["ok", "unsupported", "wrong"]
    reason: str
    max_difference: float | None = None
    relative_difference: float | None = None
    macs_removed: float | None = None
    prunable_units: float | None = None
    groups: int = 0
    trace_seconds: float = 0.0


def _reachable(
    graph: PruningGraph, scores: Mapping[str, Tensor], settings: PruningSettings, sparsity: float
) -> UnitSelection:
    for share in (sparsity, sparsity / 2):
        with suppress(Unsupported):
            return select_units(graph, scores, settings, share, _SEED)
    return select_units(graph, scores, settings, sparsity / 4, _SEED)


def survey(
    build: Callable[[], nn.Module],
    example: Inputs,
    sparsity: float = 0.3,
    trace_limit: float = TRACE_SECONDS,
) -> SurveyLine:
    """Prune a network with random scores to a share of its MACs, and compare it with the masked network.

    The network gets random weights that are not near zero, so that they hide no mistake.

    Args:
        build: makes the network.
        example: an input of any number of samples; the first is used.
        sparsity: share of the MACs to remove, with the scope "protected"; half or a quarter of it if removing
            all removable units is not enough.
        trace_limit: how many seconds of processor time finding the groups may take.
    """
    started = time.process_time()
    try:
        model = build().eval()
        make_plain(model, example)
        randomise(model)
        started = time.process_time()
        graph = trace(model, example, trace_limit)
        graph.require_units()
        seconds = time.process_time() - started
        generator = torch.Generator().manual_seed(_SEED)
        scores = {group.name: torch.rand(group.size, generator=generator) for group in graph.groups}
        settings = PruningSettings(scope="protected", budget="macs")
        selection = _reachable(graph, scores, settings, sparsity)
    except Unsupported as error:
        return SurveyLine("unsupported", str(error), trace_seconds=time.process_time() - started)
    going = sum(len(position) for g in graph.groups for m in g.members for position in m.units)
    staying = sum(pin.units for pin in graph.pinned if not pin.output)
    found = {
        "macs_removed": selection.macs_removed,
        "prunable_units": going / (going + staying),
    }
    try:
        pruned = remove_units(model, graph, selection.removed)
        check = check_surgery(model, pruned, graph, selection.removed, example[:1])
    except BenchsuiteError as error:
        return SurveyLine("wrong", str(error), groups=len(graph.groups), trace_seconds=seconds, **found)
    reasons = sorted({pin.reason for pin in graph.pinned if not pin.output})
    return SurveyLine(
        "ok",
        "; ".join(reasons[:3]),
        max_difference=check.max_difference,
        relative_difference=check.relative_difference,
        groups=len(graph.groups),
        trace_seconds=seconds,
        **found,
    )
