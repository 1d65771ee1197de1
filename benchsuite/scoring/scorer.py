"""The base class of scorer plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from benchsuite.contracts.plugin import Plugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite.scoring.context import ScoringContext
    from benchsuite.scoring.gradients import GradientStatistic
    from benchsuite.scoring.reductions import Reduction


class Scorer(Plugin):
    """A pruning criterion: assigns an importance to every unit or weight; higher means keep.

    Import torch inside `score` if you can: listing and planning then need not load it.
    """

    granularity: ClassVar[Literal["unit", "weight", "both"]] = "unit"
    """"unit": tensors of shape (units,). "weight": tensors of the weight's shape; where units are pruned, the
    host adds up a unit's weights. "both": the scorer looks at `context.granularity` and returns what is asked
    for; it may return the weight's shape if a unit's score is the sum."""
    sums_to_units: ClassVar[bool] = False
    """Of a criterion of weights: whether the sum over a unit's weights says something of the unit. Only then
    does the name "all" mean it where units are pruned; a suite may name it all the same."""
    scale: ClassVar[Literal["layer", "network"]] = "layer"
    """"layer": scores can be compared within a layer only, so that the host divides them by the layer's mean
    and averages them over a coupled group. "network": they can be compared over layers as they are, since
    they estimate one quantity of the whole network (a change of the loss, a flow) or since their source makes
    them comparable; the host adds them up over a coupled group. Say why in the docstring."""
    coupled: ClassVar[bool] = False
    """Whether a unit's score is already that of all units coupled with it: the same number at each of them,
    which the host takes as it is. `context.spread` makes such scores from those of positions."""
    draws: ClassVar[int] = 1
    """How many independent draws per dense model a suite makes unless it says otherwise; more than one only
    if the score itself is random."""
    needs_training_trace: ClassVar[bool] = False
    """Whether training has to record its trace for `context.training_trace`."""
    needs_target: ClassVar[bool] = False
    """Whether scores depend on how much will be removed, `context.target`: they are then computed for each
    sparsity (and round) of a suite."""
    absolute: ClassVar[bool] = False
    """Whether scores have a fixed zero and unit, so that a threshold on them means the same everywhere."""
    data_free: ClassVar[bool] = False
    """Whether it reads no samples, only the weights and, if it needs one, the training trace. It is scored
    once more on half of the samples then, which must change nothing."""
    _planned_by: ClassVar[tuple[str, ...]] = (
        *("version", "granularity", "sums_to_units", "scale", "coupled", "draws", "needs_training_trace"),
        *("needs_target", "absolute", "data_free"),
    )
    imports: ClassVar[tuple[str, ...]] = ()
    """Large modules that `score` imports, such as `sklearn.tree`: a run imports them once for all workers."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return one float tensor per prunable layer, keyed by the layer's name: higher is more important.

        For a layer that the criterion cannot score, call `context.skip(layer, reason)` and leave it out.

        Raises:
            Unsupported: the criterion cannot score this network at all.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define score()")

    def fingerprint(self) -> str:
        """Identify the content of files that `score` reads without importing them; empty without any.

        It is part of the content key of the scores, so that scores are computed again when the files change;
        `benchsuite.file_fingerprint` returns the fingerprint of a file.
        """
        return ""

    def reductions(self) -> Sequence[str | Reduction]:
        """Return what `score` will ask `context.activations` for, so that all scorers share one pass."""
        return ()

    def gradient_statistics(self) -> Sequence[str | GradientStatistic]:
        """Return what `score` will ask `context.gradient_statistic` for, so that scorers share one pass."""
        return ()

    def native(
        self,
        scores: dict[str, Tensor],  # noqa: ARG002 - for overrides
        context: ScoringContext,  # noqa: ARG002 - for overrides
    ) -> dict[str, Tensor]:
        """Return what to keep by the criterion's own rule of how much to remove.

        Override it if the source gives such a rule; suites ask for it with `sparsities = ["native"]`.

        Args:
            scores: what `score` returned, checked, at the suite's granularity.
            context: the same as for `score`.

        Returns:
            For each layer a bool tensor of the score's shape, true where the unit or weight is kept.

        Raises:
            Unsupported: the criterion has no such rule.
        """
        from benchsuite.errors import Unsupported

        raise Unsupported(f"{self.name} has no rule of its own for how much to remove")

    def merges(
        self,
        scores: dict[str, Tensor],  # noqa: ARG002 - for overrides
        context: ScoringContext,  # noqa: ARG002 - for overrides
    ) -> dict[str, list[tuple[int, int]]]:
        """Return pairs (removed unit, kept unit) by layer, for the native rule.

        Before the surgery the outgoing weights of each removed unit are added to those of the kept one.
        """
        return {}
