"""Distinctiveness: the angle between units in pattern space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from benchsuite import Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext

_MIDDLES = {"sigmoid": 0.5, "hardsigmoid": 0.5}


class Distinctiveness(Scorer):
    """The smallest angle in degrees between a unit's vector and those of the units still kept.

    A unit's vector is its output over the samples (a map's mean over positions), minus the middle of its
    activation's range (0.5 for sigmoids), or its weights. Complementary units count as similar: the angle is
    min(angle, 180 - angle). Units are removed greedily: of the closest pair, the unit that is also closer to
    a third unit (or, if equal, the one with the shorter vector) is removed, and its angle to the other is its
    score; the last unit gets 90. Units that are always zero get 0 and are removed first.

    The native rule: of a pair below `alike` degrees one unit is removed, and of a pair above 180 - `alike`
    degrees one too, as the study says ("one of them need to be removed"), or both, as Gedeon and Harris do
    (`opposite`). With one, a layer always keeps a unit; with both it may lose all, and the trial ends as
    collapsed. The study leaves the weights of the unit that stays as they are; Gedeon and Harris add the
    weights of a removed unit to those of its twin (`merge`), for pairs below `alike` degrees alone.

    Cost: one shared forward pass (none on weights), a product of the table with itself, in double precision,
    and a search per unit. It fails to consider whether a unit matters: a unit that nothing depends on is kept
    if no other is similar to it.

    Source: Gedeon and Harris 1991; applied as in the study "The Pruning Methods for feed-forward network and
    Convolutional Neural Network", section 2.2.
    """

    name = "distinctiveness"
    absolute = True
    vectors: Literal["activations", "weights"] = "activations"
    """The vector that represents a unit."""
    alike: Annotated[float, Field(gt=0, le=90)] = 15.0
    """The native rule's angle in degrees."""
    opposite: Literal["one", "both"] = "one"
    """How many units of a pair above 180 - `alike` degrees the native rule removes."""
    merge: bool = False
    """Whether the native rule adds the outgoing weights of a removed unit to its twin's."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the angle at which each unit is removed."""
        import torch

        scores = {name: torch.tensor(_greedy(v).angles) for name, v in self._vectors(context).items()}
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[str]:
        """Return the table it reads, if any."""
        return ("mean",) if self.vectors == "activations" else ()

    def native(self, scores: dict[str, Tensor], context: ScoringContext) -> dict[str, Tensor]:
        """Keep what the paper's rule keeps."""
        import torch

        found = self._by_rule(context)
        return {name: torch.tensor(found[name].kept) for name in scores}

    def merges(self, scores: dict[str, Tensor], context: ScoringContext) -> dict[str, list[tuple[int, int]]]:
        """Return each removed unit with the twin that is kept, where `merge` is set."""
        if not self.merge:
            return {}
        found = self._by_rule(context)
        return {name: found[name].twins for name in scores}

    def _by_rule(self, context: ScoringContext) -> dict[str, _Greedy]:
        """What the native rule removes of each layer."""
        both = self.opposite == "both"
        return {name: _greedy(each, self.alike, both=both) for name, each in self._vectors(context).items()}

    def _vectors(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return by layer (units, components), double; rows of units that are always zero are 0."""
        import torch

        if self.vectors == "weights":
            return {layer.name: layer.weight.flatten(1).double() for layer in context.layers}
        vectors = {}
        for name, table in context.activations("mean").items():
            outputs = table.T.double().to(context.device)
            middle = _MIDDLES.get(context.activation_function(name) or "", 0.0)
            silent = (outputs == 0).all(1, keepdim=True)
            vectors[name] = torch.where(silent, 0.0, outputs - middle)
        return vectors


@dataclass(frozen=True)
class _Greedy:
    """The history of the greedy removal.

    Attributes:
        angles: for each unit the folded angle at which it was removed.
        kept: whether the native rule keeps a unit.
        twins: pairs (removed, kept) of the native rule.
    """

    angles: list[float]
    kept: list[bool]
    twins: list[tuple[int, int]]


def _greedy(vectors: Tensor, alike: float = 0.0, *, both: bool = False) -> _Greedy:
    """Remove units greedily; with `alike`, stop at the native rule's angle and apply it.

    Args:
        vectors: (units, components).
        alike: the rule's angle in degrees.
        both: whether the rule removes both units of an opposite pair.
    """
    import torch

    norms = vectors.norm(dim=1)
    cosines = (vectors @ vectors.T) / (norms[:, None] * norms).clamp_min(1e-300)
    angles = torch.rad2deg(torch.arccos(cosines.clamp(-1, 1))).cpu()
    folded = torch.minimum(angles, 180 - angles).fill_diagonal_(torch.inf)
    lengths = norms.tolist()
    units = len(lengths)
    result = [90.0] * units
    kept = [length > 0 for length in lengths]
    twins: list[tuple[int, int]] = []
    for unit in [unit for unit in range(units) if not kept[unit]]:
        result[unit] = 0.0
        folded[unit, :] = folded[:, unit] = torch.inf
    while sum(kept) > 1:
        first, second = divmod(int(folded.argmin()), units)
        angle = float(folded[first, second])
        if alike and angle >= alike:
            break
        folded[first, second] = folded[second, first] = torch.inf
        thirds = {unit: float(folded[unit].min()) for unit in (first, second)}
        removed = min((first, second), key=lambda unit: (thirds[unit], lengths[unit], -unit))
        stays = second if removed == first else first
        opposite = float(angles[first, second]) > 90
        if alike and not opposite:
            twins.append((removed, stays))
        for unit in (first, second) if alike and opposite and both else (removed,):
            result[unit] = angle
            kept[unit] = False
            folded[unit, :] = folded[:, unit] = torch.inf
    if alike and not both and not any(kept):
        kept[0] = True  # of a layer whose units are all always zero
    # A twin may itself have been removed later: then its own twin, if any, replaces it.
    followed = dict(twins)
    for removed in followed:
        while followed[removed] in followed:
            followed[removed] = followed[followed[removed]]
    return _Greedy(result, kept, [(removed, stays) for removed, stays in followed.items() if kept[stays]])
