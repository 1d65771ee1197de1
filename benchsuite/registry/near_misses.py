"""Attributes of plugins whose names are nearly those that the host reads, which uses the defaults then."""

from __future__ import annotations

import difflib
import inspect
from types import FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchsuite.contracts.plugin import Plugin

_NEAR = 0.8


def near_misses(base: type[Plugin], cls: type[Plugin]) -> str:
    """Which attributes and methods of a plugin's class may be misspelt; empty where there is none.

    Args:
        base: the class of benchsuite that it is derived from.
        cls: the plugin's class.
    """
    known = {name: getattr(base, name) for name in dir(base) if not name.startswith("_")}
    own: dict[str, object] = {}
    for klass in cls.__mro__[: cls.__mro__.index(base)]:
        own = {**vars(klass), **own}
    found = []
    for name, value in own.items():
        if name.startswith("_") or name in known:
            continue
        method = isinstance(value, FunctionType)
        alike = [n for n, v in known.items() if n not in own and _is_method(v) == method]
        if near := difflib.get_close_matches(name, alike, n=1, cutoff=_NEAR):
            found.append(f"{name} (did you mean {near[0]}?)")
    return f"{cls.__name__} has what benchsuite does not read: {', '.join(found)}" if found else ""


def _is_method(value: object) -> bool:
    return inspect.isroutine(value) or isinstance(value, property)
