"""How far a criterion's scores depend on which samples it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def stability(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float | None:
    """How alike two scorings are on other samples of the same size would be, from those of two halves.

    r is the mean over layers of Spearman's rank correlation between the scores of two halves of the samples.
    Twice as many samples agree better: by the formula of Spearman (1910) and Brown (1910) the correlation of
    two scorings with all samples is 2 r / (1 + r). 1 is perfect agreement, 0 what chance gives.

    Args:
        first: by layer, scores from one half of the samples.
        second: by layer, scores from the other half.

    Returns:
        The stability, at least -1; None if no layer has scores that differ in both halves.
    """
    found = [
        correlation
        for name, scores in first.items()
        if name in second and (correlation := rank_correlation(scores, second[name])) is not None
    ]
    if not found:
        return None
    r = sum(found) / len(found)
    return max(-1.0, 2 * r / (1 + r)) if r > -1 else -1.0


def rank_correlation(first: Tensor, second: Tensor) -> float | None:
    """Spearman's rank correlation of two tensors of one shape; None if one of them has a single value."""
    from scipy.stats import spearmanr

    if len(first.unique()) < 2 or len(second.unique()) < 2:
        return None
    return float(spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic)
