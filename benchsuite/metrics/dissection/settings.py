"""The settings of dissection in a suite file, as plain data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class DissectionSettings(BaseModel):
    """The choices of network dissection; the defaults are those of Frankle and Bau (2019)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    concepts: str = Field(default="shapes", description="name of the concept plugin")
    parameters: dict[str, Any] = Field(default_factory=dict, description="the concept plugin's parameters")
    layers: Literal["auto"] | tuple[str, ...] = Field(
        default="auto",
        description="one name or a list of names of modules, or of places in their code; auto: the output of "
        "each stage",
    )
    iou: float = Field(default=0.05, gt=0, lt=1, description="a detector's best IoU is above this")
    quantile: float = Field(
        default=0.005, gt=0, lt=1, description="share of a unit's values that lie above its threshold"
    )
    samples: int | None = Field(
        default=None, ge=2, description="use this many images of the set, evenly spaced; all if not given"
    )
    input_size: int | None = Field(
        default=None,
        ge=1,
        description="height and width of the network's input; the model's own if not given",
    )
    batch_size: int = Field(default=32, ge=1, description="images per forward pass")
    null_draws: int = Field(
        default=3,
        ge=1,
        description="random reassignments of the label maps that the null check averages over",
    )
    pictures: bool = Field(default=True, description="draw the top detectors for each trial")
    each_round: bool = Field(
        default=False,
        description="of schedules with rounds, dissect the network after each round and not the last alone",
    )

    @property
    def of_a_network(self) -> dict[str, Any]:
        """What decides the dissection of one network."""
        return self.model_dump(mode="json", exclude={"each_round"})

    @field_validator("layers", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        if value == "auto":
            return value
        names = [value] if isinstance(value, str) else value
        if not (isinstance(names, list | tuple) and names and all(isinstance(each, str) for each in names)):
            raise ValueError('"auto", a layer\'s name, or a list of names')
        return tuple(names)
