"""The training recipe: everything that decides how a network is trained, apart from data and seed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingRecipe(BaseModel):
    """Stochastic gradient descent with momentum, for dense training and for recovery alike.

    Fields that a suite file sets under `[training]` or `[recovery]` replace those of the model's own recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: float = Field(default=10, ge=0, description="passes over the training split; fractions are steps")
    batch_size: int = Field(default=128, ge=1, description="samples per step")
    learning_rate: float = Field(default=0.1, gt=0, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(
        default=5e-4, ge=0, description="L2 penalty on weights of two or more dimensions"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["one-cycle", "step", "constant"] = Field(
        default="one-cycle", description="one-cycle: linear up over `warmup`, then linear down to zero"
    )
    warmup: float = Field(
        default=0.2, ge=0, lt=1, description="share of the steps spent warming up (one-cycle)"
    )
    milestones: tuple[float, ...] = Field(
        default=(0.5, 0.75), description="shares of the steps after which the rate falls by `gamma` (step)"
    )
    gamma: float = Field(default=0.1, gt=0, le=1)
    augment: bool = Field(default=True, description="apply the data set's own augmentation")
    precision: Literal["auto", "float32"] = Field(
        default="auto", description="auto: bfloat16 autocast where the device has it; float32: never"
    )
