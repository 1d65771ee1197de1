"""Pruning by parts: for some layers a suite says how much of them goes, and perhaps by which criterion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchsuite.errors import Unsupported, UsageError
from benchsuite.pruning.collapse import refuse_lost_units, refuse_lost_weights
from benchsuite.pruning.graph import UNITS
from benchsuite.pruning.group_scores import group_scores, normalised
from benchsuite.pruning.masks import select_weights
from benchsuite.pruning.native import positions_to_remove
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import WEIGHT_SCOPES, PruningSettings, Restriction
from benchsuite.pruning.targets import Threshold, Width
from benchsuite.pruning.threshold import positions_below, weights_from
from benchsuite.pruning.two_four import select_two_four
from benchsuite.pruning.widths import select_widths
from benchsuite.store.keys import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from benchsuite.pruning.graph import PruningGraph
    from benchsuite.pruning.targets import Target

_HALF = 0.5
"""The sparsity of the scope 2:4."""


@dataclass(frozen=True, eq=False)
class TargetedLayers:
    """Some layers, how much of them goes, and what a criterion says of them.

    Attributes:
        patterns: of the layers' names.
        target: how much goes.
        settings: how it is chosen among these layers; the budget decides nothing.
        scores: by layer; also of other layers.
        native: by layer, what the criterion's own rule keeps, where the target is "native".
        merges: by layer, pairs (removed unit, kept unit) of that rule.
        vary: how a control changes the scores.
    """

    patterns: tuple[str, ...]
    target: Target
    settings: PruningSettings
    scores: Mapping[str, Tensor]
    native: Mapping[str, Tensor] = field(default_factory=dict)
    merges: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    vary: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict

    def seed(self, of_cut: int) -> int:
        """The seed of the order among equal scores: each target of a cut has its own."""
        return derived_seed("target", of_cut, *self.patterns)


def layers_apart(graph: PruningGraph, patterns: Sequence[tuple[str, ...]]) -> list[PruningGraph]:
    """The graph restricted to the layers of each target.

    Raises:
        UsageError: a pattern matches no layer, or two targets name the same one.
    """
    found = [graph.restricted(Restriction(each)) for each in patterns]
    of_layer: dict[str, int] = {}
    for number, each in enumerate(patterns):
        for name in (*(layer.name for layer in found[number].weight_layers), *graph.shared):
            if Restriction(each).names(name) and of_layer.setdefault(name, number) != number:
                raise UsageError(f"two of [[pruning.layers]] name {name}: {', '.join(each)} is one of them")
    return found


def units_that_go(
    graph: PruningGraph, layers: TargetedLayers, seed: int
) -> tuple[dict[str, tuple[int, ...]], int]:
    """By group, the positions that a target removes, and how many equal scores stood at its cut.

    Args:
        graph: the network's, restricted to the target's layers.
        layers: the target.
        seed: decides the order of equal scores.

    Raises:
        Collapsed: a layer would lose all its units, or by a rule or a threshold all but 1% of them.
        Unsupported: the layers cannot lose so much; the message says why.
    """
    settings, target = replace(layers.settings, budget="units"), layers.target
    seed = layers.seed(seed)
    if settings.scope in WEIGHT_SCOPES:
        raise Unsupported(
            f'the scope {settings.scope} is one of single weights: it needs granularity = "weight"'
        )
    _refuse_half_of_a_shared_weight(graph, layers.patterns)
    if not graph.groups:
        raise Unsupported(_nothing_can_go("unit", graph, layers.patterns))
    _refuse_what_stays(graph, layers)
    if target == "native":
        _refuse_unsaid(layers, [layer.name for layer in graph.layers if layer.name not in layers.native])
        removed = {group.name: positions_to_remove(group, layers.native) for group in graph.groups}
        refuse_lost_units(graph.groups, removed)
        return removed, 0
    if isinstance(target, Threshold):
        scores = layers.vary(group_scores(graph, layers.scores, replace(settings, normalise="none")))
        return positions_below(graph, scores, target.value), 0
    scores = layers.vary(group_scores(graph, layers.scores, settings))
    if isinstance(target, Width):
        names = [layer.name for layer in graph.weight_layers]
        selection = select_widths(graph, scores, settings, dict.fromkeys(names, target.units), seed)
    else:
        selection = select_units(graph, scores, settings, target, seed)
    return selection.removed, selection.ties


def weights_that_stay(
    graph: PruningGraph, layers: TargetedLayers, seed: int
) -> tuple[dict[str, Tensor], int]:
    """By layer, True where a target keeps a weight, and how many equal scores stood at its cut.

    Args:
        graph: the network's, restricted to the target's layers.
        layers: the target.
        seed: decides the order of equal scores.

    Raises:
        Collapsed: a layer would lose all its weights, or by a rule or a threshold all but 1% of them.
        Unsupported: the layers cannot lose so much; the message says why.
    """
    _refuse_half_of_a_shared_weight(graph, layers.patterns)
    if not graph.weight_layers:
        raise Unsupported(_nothing_can_go("weight", graph, layers.patterns))
    seed = layers.seed(seed)
    names, target = [layer.name for layer in graph.weight_layers], layers.target
    if isinstance(target, Width):
        raise Unsupported('widths are numbers of units: they need granularity = "unit"')
    if layers.settings.scope == "2:4" and target != _HALF:
        raise Unsupported("the scope 2:4 removes half of the weights: the target is 0.5")
    if target == "native":
        if any(layers.merges.values()):
            raise Unsupported("units can be merged only where units are removed")
        _refuse_unsaid(layers, [name for name in names if name not in layers.native])
        keep = {name: layers.native[name] for name in names}
        refuse_lost_weights(keep)
        return keep, 0
    _refuse_unsaid(layers, [name for name in names if name not in layers.scores])
    scores = {name: layers.scores[name] for name in names}
    if isinstance(target, Threshold):
        return weights_from(layers.vary(scores), target.value), 0
    varied = layers.vary({n: normalised(score, layers.settings.normalise) for n, score in scores.items()})
    if layers.settings.scope == "2:4":
        selection = select_two_four(graph, varied, seed)
    else:
        settings = replace(layers.settings, normalise="none")
        selection = select_weights(graph, varied, settings, target, seed, of_scored=True)
    return selection.keep, selection.ties


def _refuse_half_of_a_shared_weight(graph: PruningGraph, patterns: tuple[str, ...]) -> None:
    """Raise `Unsupported` if a target names one of several layers with one weight: it would stay."""
    named = Restriction(patterns).names
    for name, first in graph.shared.items():
        if named(name) != named(first):
            here, there = (name, first) if named(name) else (first, name)
            raise Unsupported(
                f"{here} shares its weight with {there}: one of [[pruning.layers]] names both, or none does"
            )


def _nothing_can_go(what: str, graph: PruningGraph, patterns: tuple[str, ...]) -> str:
    """Why no unit or weight of the layers of a target can go."""
    named = Restriction(patterns).names
    why = {**graph.left_out, **{pin.layer: pin.reason for pin in reversed(graph.pinned)}}
    reasons = "; ".join([f"{name}: {reason}" for name, reason in why.items() if named(name)][:3])
    return (
        f"no {what} of {', '.join(patterns)} can go, for which [[pruning.layers]] has a target"
        f"{f' ({reasons})' if reasons else ''}"
    )


def _refuse_what_stays(graph: PruningGraph, layers: TargetedLayers) -> None:
    """Raise `Unsupported` if no unit can go of a layer that a target names by its whole name."""
    can_go = {
        cut.axis.name for group in graph.groups for cut in graph.cuts[group.name] if cut.axis.side in UNITS
    }
    why = {**graph.left_out, **{pin.layer: pin.reason for pin in reversed(graph.pinned)}}
    units = {layer.name: layer.units for layer in graph.weight_layers}
    for name in layers.patterns:
        asked = layers.target != 0 and layers.target != Width(units.get(name, 0))
        if asked and name in why and name not in can_go:
            raise Unsupported(
                f"no unit of {name} can go, for which [[pruning.layers]] has a target: {why[name]}"
            )


def _refuse_unsaid(layers: TargetedLayers, unsaid: Sequence[str]) -> None:
    """Raise `Unsupported` if the criterion says nothing of some of the layers, which would stay unseen."""
    if unsaid:
        what = "says by its own rule nothing of" if layers.target == "native" else "gives no scores for"
        raise Unsupported(
            f"the criterion {what} {', '.join(unsaid[:5])}, which [[pruning.layers]] gives a target"
        )
