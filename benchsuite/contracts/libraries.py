"""Versions of the libraries that code computes with, for content keys."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}
"""Where a library is not called like its distribution; others are looked up, which takes longer."""
_WITHOUT_NUMBERS = frozenset(
    {"lazy_loader", "platformdirs", "pluggy", "psutil", "pydantic", "pydantic_core", "pynvml", "rich"}
    | {"safetensors", "typing_extensions"}
)
"""Libraries that check, store, find or show what others compute: their versions change no number."""


def library_versions(imported: Iterable[str]) -> dict[str, str]:
    """The versions of libraries by their import names, without local labels such as `+cu130`.

    The standard library and libraries that compute nothing are left out, and so are names that nothing here
    answers to, such as a module beside the one that imports it.
    """
    names = set(imported) - _WITHOUT_NUMBERS - sys.stdlib_module_names
    versions = {name: _version(name) for name in sorted(names)}
    return {name: found for name, found in versions.items() if found is not None}


@cache
def _version(name: str) -> str | None:
    """The version of the library of that import name; None where there is none."""
    found = _version_of(_DISTRIBUTIONS.get(name, name))
    if found is None and name not in _DISTRIBUTIONS and _is_there(name):
        found = next(filter(None, map(_version_of, sorted(distributions_of(name)))), None)
    return found


def distributions_of(name: str) -> frozenset[str]:
    """The installed distributions that hold a module of that import name."""
    return frozenset(_owners().get(name, ()))


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution).partition("+")[0]
    except PackageNotFoundError:
        return None


def _is_there(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@cache
def _owners() -> dict[str, list[str]]:
    return dict(packages_distributions())
