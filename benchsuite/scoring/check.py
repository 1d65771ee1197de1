"""Runs a scorer and checks what it returns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchsuite.contracts.layers import CoupledGroup, removable_units
from benchsuite.errors import BenchsuiteError, PluginError, Unsupported
from benchsuite.hardware import devices
from benchsuite.hardware.kernels import trusted_gradients
from benchsuite.scoring.context import ScoringContext, sum_over_units
from benchsuite.scoring.guard import untouched
from benchsuite.scoring.reports import Reports

if TYPE_CHECKING:
    from benchsuite.scoring.scorer import Scorer


@dataclass(frozen=True)
class ScoringResult:
    """Checked scores and what they cost.

    Attributes:
        scores: by layer, float32 or float64 on the CPU, at the suite's granularity: (units,) or the
            weight's shape.
        seconds: wall time of the scorer, with the activation tables and gradient statistics that it asks for
            and that are not in the context's store yet. In a run the host has computed what several scorers
            share before, so that times can be compared only between criteria that share nothing.
        peak_memory_mb: largest memory use of the scorer beyond what was in use before, in 10^6 bytes.
        ties: how many units that can be removed (or weights) share their score with an earlier one of their
            layer.
        skipped: reasons for the layers that the scorer could not score.
        native: by layer, what the criterion's own rule keeps; None unless asked for.
        merges: by layer, pairs (removed unit, kept unit) whose outgoing weights the rule adds up.
        reports: what the scorer said of its own work.
    """

    scores: dict[str, Tensor]
    seconds: float
    peak_memory_mb: float
    ties: int
    skipped: dict[str, str]
    native: dict[str, Tensor] | None = None
    merges: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    reports: Reports = field(default_factory=Reports)


def run_scorer(scorer: Scorer, context: ScoringContext, *, native: bool = False) -> ScoringResult:
    """Run a scorer, check what it returns, and report its time and memory.

    Args:
        scorer: the criterion.
        context: the network and its data; its generator is reset.
        native: also ask for the criterion's own rule of how much to remove.

    Raises:
        Unsupported: the scorer cannot score this network, or any layer of it, or not at this granularity;
            or it fails on complex weights.
        PluginError: it raised an error, returned something invalid, or changed the network or a random state.
    """
    if scorer.granularity == "unit" and context.granularity == "weight":
        raise Unsupported(f"{scorer.name} scores whole units; it cannot rank single weights")
    context.restart()
    devices.synchronise(context.device)
    with (
        devices.exact_float32(),
        trusted_gradients(context.model, context.device),
        devices.peak_memory(context.device) as peak,
    ):
        start = time.perf_counter()
        try:
            with untouched(context.model, f"scorer {scorer.name}"):
                returned = scorer.score(context)
                devices.synchronise(context.device)
                seconds = time.perf_counter() - start
                scores = checked_scores(scorer, context, returned)
                kept = _checked_native(scorer, scores, context) if native else None
                merges = scorer.merges(scores, context) if native else {}
        except BenchsuiteError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if _is_complex(context):
                raise Unsupported(f"{scorer.name} cannot serve complex weights: {said}") from error
            raise PluginError(f"scorer {scorer.name}: {said}") from error
    if not scores:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in context.skipped.items())
        raise Unsupported(f"{scorer.name} can serve no layer of this network: {reasons or 'it has none'}")
    compared = scores if context.granularity == "weight" else of_removable_units(scores, context.groups)
    return ScoringResult(
        scores,
        seconds,
        max(peak.megabytes, 0.0),
        count_ties(compared),
        dict(context.skipped),
        kept,
        merges,
        context.reports,
    )


def checked_scores(scorer: Scorer, context: ScoringContext, returned: object) -> dict[str, Tensor]:
    """Return valid scores at the context's granularity, on the CPU; raises `PluginError` otherwise."""
    say = f"scorer {scorer.name}"
    if not isinstance(returned, Mapping):
        raise PluginError(f"{say}: score() returned {type(returned).__name__}, not a dict of tensors")
    layers = {layer.name: layer for layer in context.layers}
    unknown = [name for name in returned if name not in layers]
    if unknown:
        raise PluginError(f"{say}: scores for unknown layers {unknown}; the layers are {list(layers)}")
    absent = [name for name in layers if name not in returned and name not in context.skipped]
    if absent:
        raise PluginError(f"{say}: no scores for {absent}; call context.skip(layer, reason) for such layers")
    both = [name for name in returned if name in context.skipped]
    if both:
        raise PluginError(f"{say}: layers {both} were skipped and scored")
    scores = {}
    for name, score in returned.items():
        if isinstance(score, Tensor) and score.is_complex() and _is_complex(context):
            raise Unsupported(f"{scorer.name} cannot serve complex weights: its scores are complex too")
        if not isinstance(score, Tensor) or not score.is_floating_point():
            got = score.dtype if isinstance(score, Tensor) else type(score).__name__
            raise PluginError(f"{say}: layer {name}: scores must be a float tensor, got {got}")
        weight, units = tuple(layers[name].weight.shape), (layers[name].units,)
        allowed: list[tuple[int, ...]] = [units if scorer.granularity == "unit" else weight]
        if scorer.granularity == "both" and context.granularity == "unit":
            allowed = [units, weight]
        if tuple(score.shape) not in allowed:
            wanted = " or ".join(map(str, allowed))
            of_weights = scorer.granularity == "unit" and tuple(score.shape) == weight
            hint = ', one score a unit; or set granularity = "weight"' if of_weights else ""
            raise PluginError(
                f"{say}: layer {name}: scores have shape {tuple(score.shape)}, expected {wanted}{hint}"
            )
        wide = score.detach().to("cpu", torch.float64 if score.dtype == torch.float64 else torch.float32)
        if not wide.isfinite().all():
            raise PluginError(
                f"{say}: layer {name}: {int(wide.isnan().sum())} NaN and {int(wide.isinf().sum())} infinite "
                f"of {wide.numel()} scores"
            )
        scores[name] = wide.clone()
    ordered = {name: scores[name] for name in layers if name in scores}
    if context.granularity == "weight":
        return ordered
    by_unit = sum_over_units(ordered)
    if scorer.coupled:
        _refuse_differing(say, context, by_unit)
    return by_unit


def check_data_free(scorer: Scorer, whole: ScoringResult, half: ScoringResult) -> None:
    """Raise `PluginError` if a scorer that declares `data_free` scores otherwise on half of the samples."""
    for name, scores in whole.scores.items():
        other = half.scores.get(name)
        if other is None or not torch.equal(other, scores):
            raise PluginError(
                f"scorer {scorer.name} declares `data_free`, but its scores of {name} change with the "
                "samples: leave the declaration out"
            )


def _is_complex(context: ScoringContext) -> bool:
    """Whether a network has complex weights, which most criteria's formulas are not made for."""
    return any(parameter.is_complex() for parameter in context.model.parameters())


def _refuse_differing(say: str, context: ScoringContext, scores: Mapping[str, Tensor]) -> None:
    """Raise `PluginError` if coupled units have different scores."""
    for group in context.groups:
        first: Tensor | None = None
        for member in group.members:
            if member.layer not in scores:
                continue
            found = scores[member.layer][torch.tensor(member.units)]
            first = found[:, :1] if first is None else first
            if not torch.allclose(found, first.expand_as(found), rtol=1e-5, atol=0):
                raise PluginError(
                    f"{say}: it says that its scores are those of coupled units, but in the group "
                    f"{group.name} units of {member.layer} have other scores than those coupled with them; "
                    "context.spread gives each the score of its position"
                )


def of_removable_units(scores: Mapping[str, Tensor], groups: Iterable[CoupledGroup]) -> dict[str, Tensor]:
    """The scores of units that can be removed, by layer: only these decide what a ranking does.

    Args:
        scores: by layer, (units,).
        groups: the groups that the units form.
    """
    removable = removable_units(groups)
    return {name: score[list(removable[name])] for name, score in scores.items() if name in removable}


def count_ties(scores: Mapping[str, Tensor]) -> int:
    """Count the scores that equal an earlier one of the same layer."""
    return sum(int(score.numel() - len(score.unique())) for score in scores.values())


def _checked_native(scorer: Scorer, scores: dict[str, Tensor], context: ScoringContext) -> dict[str, Tensor]:
    kept = scorer.native(scores, context)
    for name, score in scores.items():
        keep = kept.get(name)
        if keep is None or keep.dtype != torch.bool or keep.shape != score.shape:
            got = "nothing" if keep is None else f"{keep.dtype} of shape {tuple(keep.shape)}"
            raise PluginError(
                f"scorer {scorer.name}: layer {name}: native() gave {got}, expected bool of shape "
                f"{tuple(score.shape)}"
            )
    return {name: kept[name].cpu() for name in scores}
