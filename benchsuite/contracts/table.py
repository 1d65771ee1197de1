"""Tables of settings: strict, and a list of values where a setting is an axis."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

T = TypeVar("T")

LONGEST_AXIS = 10_000
LARGEST = 2**31 - 1
"""The largest whole number of a setting, but for seeds."""
LARGEST_SEED = 2**63 - 1

Axis = Annotated[
    list[T],
    BeforeValidator(lambda v: v if isinstance(v, list) else [v]),
    Field(min_length=1, max_length=LONGEST_AXIS),
]
"""A value or a list of values; each becomes a position on that axis of the matrix."""


class Table(BaseModel):
    """A table without unknown keys, whose lists have no repeats and whose numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _numbers_that_a_machine_has(self) -> Table:
        for name in type(self).model_fields:
            largest = LARGEST_SEED if name == "seeds" else LARGEST
            value = getattr(self, name)
            for number in value if isinstance(value, list | tuple) else [value]:
                if isinstance(number, int) and abs(number) > largest:
                    raise ValueError(f"{name} is larger than {largest}")
        return self

    @model_validator(mode="after")
    def _axes_without_repeats(self) -> Table:
        for name in type(self).model_fields:
            value = getattr(self, name)
            seen: set[str] = set()
            for each in value if isinstance(value, list) else ():
                if repr(each) in seen:
                    raise ValueError(f"{name} lists {_shown(each)} twice")
                seen.add(repr(each))
        return self


def _shown(value: object) -> str:
    return repr(getattr(value, "label", value))
