"""A scorer with a list of values for a parameter, which stands for as many scorers."""

from __future__ import annotations

import itertools
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from benchsuite.contracts.table import LONGEST_AXIS
from benchsuite.suite.references import ScorerRef

if TYPE_CHECKING:
    from collections.abc import Iterable

_MEANT = "sweep is a table of parameters, each with a list of values: sweep = { bins = [4, 8, 16] }"


def _swept(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """A scorer, or with the key `sweep` a tuple of one for each value of its parameters."""
    if not (isinstance(value, dict) and isinstance(value.get("sweep"), dict | list)):
        return handler(value)
    sweep, fixed = value["sweep"], {key: inner for key, inner in value.items() if key != "sweep"}
    if not isinstance(sweep, dict) or not sweep:
        raise ValueError(_MEANT)
    if value.get("name") == "all":
        raise ValueError('sweep is for one scorer, not for "all"')
    for name, values in sweep.items():
        _check(name, values, fixed)
    if prod(map(len, sweep.values())) > LONGEST_AXIS:
        raise ValueError(f"sweep stands for more than {LONGEST_AXIS} scorers")
    found: dict[str, ScorerRef] = {}
    for chosen in itertools.product(*sweep.values()):
        parameters = dict(zip(sweep, chosen, strict=True))
        ref = handler({**fixed, **parameters})
        assert isinstance(ref, ScorerRef)
        if ref.identity in found:
            listed = ", ".join(f"{name} = {each!r}" for name, each in parameters.items())
            raise ValueError(f"sweep lists {listed} twice")
        found[ref.identity] = ref.as_swept()
    return tuple(found.values())


def _check(name: str, values: object, fixed: dict[str, Any]) -> None:
    if name in ScorerRef.model_fields:
        raise ValueError(f"sweep.{name} is no parameter of a scorer")
    beside = fixed.get("parameters")
    if name in fixed or (isinstance(beside, dict) and name in beside):
        raise ValueError(f"{name} stands beside sweep and in it")
    if not isinstance(values, list):
        raise ValueError(
            f"sweep.{name} is a list of values, not {values!r}; {name} alone stands beside sweep"
        )
    if not values:
        raise ValueError(f"sweep.{name} has no value")


ScorerEntry = Annotated[ScorerRef, WrapValidator(_swept)]
"""An entry of a suite's scorers: one, or with `sweep` a tuple of several."""


def flat(entries: Iterable[Any]) -> list[Any]:
    """Entries of an axis, those that stand for several in their place."""
    found = [each for entry in entries for each in (entry if isinstance(entry, tuple) else (entry,))]
    if len(found) > LONGEST_AXIS:
        raise ValueError(f"these are {len(found)} values, more than {LONGEST_AXIS}")
    return found
