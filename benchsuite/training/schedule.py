"""The learning rate of every step of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchsuite.contracts.recipe import TrainingRecipe


def learning_rates(recipe: TrainingRecipe, steps: int) -> list[float]:
    """Return the rate of each step.

    The one-cycle triangle is read in the middle of each step, so that it is symmetric, never zero, and
    makes sense for a single step.
    """
    peak = recipe.learning_rate
    if recipe.schedule == "one-cycle":
        top = recipe.warmup * steps
        middles = [step + 0.5 for step in range(steps)]
        return [peak * (t / top if t < top else (steps - t) / (steps - top)) for t in middles]
    if recipe.schedule == "step":
        falls = [share * steps for share in recipe.milestones]
        return [peak * recipe.gamma ** sum(step >= fall for fall in falls) for step in range(steps)]
    return [peak] * steps
