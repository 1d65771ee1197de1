"""How a suite file says how much is to go: of a whole network, or of some layers."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    JsonValue,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from benchsuite.contracts.table import LONGEST_AXIS
from benchsuite.pruning.targets import LAYERS
from benchsuite.pruning.threshold import named, threshold_of


def _is_finite(number: float) -> bool:
    """Whether it is a number of a computer's: an integer of TOML may have any number of digits."""
    try:
        return isfinite(number)
    except OverflowError:
        return False


def _fraction(value: float) -> float:
    """A fraction of few digits: what a program wrote as .1 + .2 is .3, and no other column beside it."""
    found = round(value, 12) + 0 if isinstance(value, float) else value  # no sign on a zero
    if found >= 1:
        raise ValueError(f"a fraction is less than 1, and {value!r} is 1 to 12 digits")
    return found


def _sparsity(value: object) -> object:
    if value in ("native", "widths", LAYERS) or (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    ):
        return value if isinstance(value, str) else _fraction(value)
    if isinstance(value, dict) and value.keys() == {"threshold"}:
        threshold = value["threshold"]
        if isinstance(threshold, int | float) and not isinstance(threshold, bool) and _is_finite(threshold):
            return named(threshold)
        raise ValueError(f"a threshold is a number, not {threshold!r}")
    if (found := threshold_of(value)) is not None:
        return named(found)
    raise ValueError(
        'a sparsity is a fraction in [0, 1), "native" for the criterion\'s own rule, "widths" for '
        'the widths under [pruning], "layers" for the targets of [[pruning.layers]], or '
        f"{{ threshold = 0.05 }}, not {value!r}"
    )


def _spread(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """A sparsity, or a tuple of thresholds that are equally spaced between two ends."""
    if not (isinstance(value, dict) and "thresholds" in value):
        return handler(value)
    ends = value["thresholds"]
    if value.keys() != {"thresholds"} or not isinstance(ends, dict) or ends.keys() != {"from", "to", "count"}:
        raise ValueError(f"thresholds = {{ from = 0.001, to = 0.45, count = 20 }} is meant, not {value!r}")
    count = ends["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= LONGEST_AXIS:
        raise ValueError(f"the count of thresholds is a whole number from 2 to {LONGEST_AXIS}, not {count!r}")
    for name in ("from", "to"):
        if not isinstance(_sparsity({"threshold": ends[name]}), str):
            raise ValueError(f"a threshold is a number, not {ends[name]!r}")
    low, high = float(ends["from"]), float(ends["to"])
    if not low < high:
        raise ValueError(f"the first threshold, {low:g}, is below the last, not {high:g}")
    # Few digits, so that .1 + .2 is .3 in names.
    inner = [float(f"{low + i * (high - low) / (count - 1):.12g}") for i in range(1, count - 1)]
    return tuple(handler({"threshold": each}) for each in (low, *inner, high))


_THRESHOLD: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"threshold": {"type": "number"}},
    "required": ["threshold"],
    "additionalProperties": False,
}
_SPARSITY: dict[str, JsonValue] = {
    "anyOf": [
        {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        {"enum": ["native", "widths", LAYERS]},
        _THRESHOLD,
        {"type": "string", "pattern": "^threshold="},
    ]
}
Sparsity = Annotated[
    float | str,
    BeforeValidator(_sparsity),
    WithJsonSchema(_SPARSITY),
]

SparsityEntry = Annotated[
    Sparsity,
    WrapValidator(_spread),
    WithJsonSchema(
        {
            "anyOf": [
                _SPARSITY,
                {
                    "type": "object",
                    "properties": {
                        "thresholds": {
                            "type": "object",
                            "properties": {
                                "from": {"type": "number"},
                                "to": {"type": "number"},
                                "count": {"type": "integer", "minimum": 2},
                            },
                            "required": ["from", "to", "count"],
                            "additionalProperties": False,
                        }
                    },
                    "required": ["thresholds"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""An entry of a suite's sparsities: one, or for thresholds that are equally spaced a tuple of several."""


def _target(value: object) -> object:
    """A target as it is written in records: {"width": 5} and {"threshold": 0.1} stay tables."""
    if value == "native":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
        return float(_fraction(value))
    if isinstance(value, dict) and len(value) == 1:
        ((name, number),) = value.items()
        if name == "width" and isinstance(number, int) and not isinstance(number, bool) and number >= 1:
            return {name: number}
        whole = isinstance(number, int | float) and not isinstance(number, bool) and _is_finite(number)
        if name == "threshold" and whole:
            return {name: float(number) + 0.0}
    raise ValueError(
        'a target is a fraction in [0, 1), "native" for the criterion\'s own rule, { width = 5 } for so many '
        f"units in each layer, or {{ threshold = 0.05 }}, not {value!r}"
    )


_WIDTH: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"width": {"type": "integer", "minimum": 1}},
    "required": ["width"],
    "additionalProperties": False,
}


Target = Annotated[
    float | Literal["native"] | dict[str, float | int],
    BeforeValidator(_target),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                {"enum": ["native"]},
                _WIDTH,
                _THRESHOLD,
            ]
        }
    ),
]
