"""Tables of settings: strict, and a list of values where a setting is an axis."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

T = TypeVar("T")

Axis = Annotated[list[T], BeforeValidator(lambda v: v if isinstance(v, list) else [v]), Field(min_length=1)]
"""A value or a list of values; each becomes a position on that axis of the matrix."""


class Table(BaseModel):
    """A table without unknown keys, whose lists have no repeats."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _axes_without_repeats(self) -> Table:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, list) and any(value.count(v) > 1 for v in value):
                repeated = next(v for v in value if value.count(v) > 1)
                raise ValueError(f"{name} lists {_shown(repeated)} twice")
        return self


def _shown(value: object) -> str:
    return repr(getattr(value, "label", value))
