"""What a scorer plugin is."""

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

    Import torch inside `score` where you can: listing and planning then need not load it.
    """

    granularity: ClassVar[Literal["unit", "weight", "both"]] = "unit"
    """"unit": tensors of shape (units,). "weight": tensors of the weight's shape; the host makes a unit
    criterion of it by summing over a unit's weights. "both": the scorer looks at `context.granularity`
    and returns what is asked for, or the weight's shape where the sum is what it means for units."""
    draws: ClassVar[int] = 1
    """How many independent draws per dense model a suite makes unless it says otherwise; more than one
    only where the score itself is random."""
    needs_training_trace: ClassVar[bool] = False
    """Whether training has to record its trace for `context.training_trace`."""
    data_free: ClassVar[bool] = False
    """Whether it reads no samples: the weights alone, and the training trace if it needs one."""
    imports: ClassVar[tuple[str, ...]] = ()
    """Large modules that `score` imports, such as `sklearn.tree`: a run imports them once for all workers."""

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return one float tensor per prunable layer, keyed by the layer's name: higher is more important.

        A layer that the criterion cannot serve is left out after `context.skip(layer, reason)`.

        Raises:
            Unsupported: the criterion cannot serve this network at all.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define score()")

    def fingerprint(self) -> str:
        """Identify the content of files that `score` reads and no import names; empty without any.

        It is part of the content key of the scores, so that changed files are never taken for cached ones;
        `benchsuite.file_fingerprint` gives a file's.
        """
        return ""

    def reductions(self) -> Sequence[str | Reduction]:
        """Return what `score` will ask `context.activations` for, so that one pass serves all scorers."""
        return ()

    def gradient_statistics(self) -> Sequence[str | GradientStatistic]:
        """Return what `score` will ask `context.gradient_statistic` for, so that one pass serves all."""
        return ()

    def native(
        self,
        scores: dict[str, Tensor],  # noqa: ARG002 - for overrides
        context: ScoringContext,  # noqa: ARG002 - for overrides
    ) -> dict[str, Tensor]:
        """Return what to keep by the criterion's own rule of how much to remove.

        Override it where the source gives such a rule; suites ask for it with `sparsities = ["native"]`.

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
