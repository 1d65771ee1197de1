"""The settings of scoring in a suite file, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_serializer

from benchsuite.contracts.table import Table

if TYPE_CHECKING:
    from pydantic import SerializerFunctionWrapHandler

ScoredSplit = Literal["train", "validation"]
"""The splits that scorers may see: never that on which accuracy is measured."""


def _samples(value: object) -> object:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f'samples is a whole number of at least 1, or "all" for the whole split, not {value!r}')


Samples = Annotated[
    int | Literal["all"],
    BeforeValidator(_samples),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]}),
]


class ScoringSettings(Table):
    """`[scoring]`: which samples scorers get.

    The default is the smallest power of two with which the criteria's scores of small trained networks are
    stable: with 512 samples of MNIST three criteria rank the units of a LeNet-5 with a stability below 0.5.
    """

    split: ScoredSplit = Field(default="train", description="the split whose samples scorers see")
    samples: Samples = Field(default=1024, description='how many of its samples, or "all"')
    batch_size: int = Field(default=64, ge=1)

    @model_serializer(mode="wrap")
    def _as_recorded(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the split where it is the default, as records and keys were before there was a choice."""
        found: dict[str, Any] = handler(self)
        if self.split == "train":
            found.pop("split", None)
        return found

    @property
    def count(self) -> int | None:
        """How many samples scorers see at most; None for all of the split."""
        return None if self.samples == "all" else self.samples
