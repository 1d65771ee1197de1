"""What keeps a plugin from being registered: functions that are nearly hooks, classes without a hook."""

from __future__ import annotations

import difflib
import inspect
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING

from benchsuite.registry import hookspecs
from benchsuite.registry.registry import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchsuite.contracts.plugin import Kind

_HOOKS: dict[Kind, str] = {
    "scorer": "benchsuite_register_scorers",
    "model": "benchsuite_register_models",
    "dataset": "benchsuite_register_datasets",
    "concepts": "benchsuite_register_datasets",
    "metric": "benchsuite_register_metrics",
}
_MARK = f"{hookspecs.PROJECT}_impl"
_NEAR = 0.85
"""How alike the name of a function without the decorator must be to that of a hook."""


def wrong_arguments(plugin: object) -> str | None:
    """Which hook of a plugin has an argument that the host does not give it."""
    for name, function in _functions(plugin):
        known = _hooks().get(_hook_of(name, function))
        if known is None or not hasattr(function, _MARK):
            continue
        unknown = [argument for argument in inspect.signature(function).parameters if argument not in known]
        if unknown:
            return f"{name} has the argument {unknown[0]!r}; the hook gives: {', '.join(known)}"
    return None


def missed_hook(plugin: object) -> str | None:
    """Which function of a plugin is nearly a hook and yet none."""
    for name, function in _functions(plugin):
        mark = getattr(function, _MARK, None)
        hook = _hook_of(name, function)
        if mark is not None and hook not in _hooks() and not mark["optionalhook"]:
            near = difflib.get_close_matches(hook, _hooks(), n=1)
            return f"there is no hook {hook}; " + (f"did you mean {near[0]}?" if near else _all_hooks())
        if mark is None and function.__module__ == getattr(plugin, "__name__", None):
            if name in _hooks():
                return f"{name} is no hook without the line @benchsuite.hookimpl before it"
            if near := difflib.get_close_matches(name, _hooks(), n=1, cutoff=_NEAR):
                return f"{name} is no hook; did you mean {near[0]}, after the line @benchsuite.hookimpl?"
    return None


def nothing_registered(plugin: object) -> str:
    """What a plugin that registers nothing has, and the lines that would register it."""
    own = [
        value
        for name, value in _members(plugin)
        if isinstance(value, type)
        and value.__module__ == getattr(plugin, "__name__", None)
        and not name.startswith("_")
    ]
    for kind, (base, method) in KINDS.items():
        found = [cls.__name__ for cls in own if issubclass(cls, base)]
        if found:
            lines = ["@benchsuite.hookimpl", f"def {_HOOKS[kind]}(register):"]
            lines += [f"    register({name})" for name in found]
            added = "\n".join(f"    {line}" for line in lines)
            return f"no plugin is registered. What registers {' and '.join(found)}:\n{added}"
        if kind == "scorer" and (like := [cls.__name__ for cls in own if hasattr(cls, method)]):
            return f"no plugin is registered; {like[0]} has {method}() but is no benchsuite.{base.__name__}"
    bases = ", ".join(base.__name__ for base, _ in KINDS.values())
    return f"no plugin is registered, and no class is derived from one of benchsuite's: {bases}"


@cache
def _hooks() -> dict[str, tuple[str, ...]]:
    """The arguments of each hook."""
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if hasattr(function, f"{hookspecs.PROJECT}_spec")
    }


def _all_hooks() -> str:
    return f"there are: {', '.join(_hooks())}"


def _hook_of(name: str, function: FunctionType) -> str:
    """The hook that a function says it implements: that of its own name, unless it says otherwise."""
    mark = getattr(function, _MARK, None)
    return str(mark["specname"] or name) if mark is not None else name


def _functions(plugin: object) -> Iterator[tuple[str, FunctionType]]:
    return ((name, value) for name, value in _members(plugin) if isinstance(value, FunctionType))


def _members(plugin: object) -> list[tuple[str, object]]:
    return list(vars(plugin).items()) if hasattr(plugin, "__dict__") else []
