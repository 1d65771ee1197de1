"""Gives every Python process that finds this folder on its path a GPU that is none, see `fake_cuda`.

It also hides the large libraries that a bare machine with a GPU lacks, so that a dry run meets what a real
one will.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType


HIDDEN = ("jinja2", "mlflow", "vl_convert", "xgboost")


def _torch(_module: ModuleType) -> None:
    importlib.import_module("fake_cuda").install()


def _devices(module: ModuleType) -> None:
    module._visible_gpus = lambda: 1  # it looks for the driver's files before it asks torch


class _Afterwards(importlib.abc.MetaPathFinder):
    """Calls a function once a module has been loaded."""

    def __init__(self, functions: dict[str, Callable[[ModuleType], None]]) -> None:
        self._functions = functions
        self._looking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        then = self._functions.get(fullname)
        if then is None or self._looking:
            return None
        self._looking = True
        spec = find_spec(fullname)
        self._looking = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_call(module: ModuleType) -> None:
            execute(module)
            then(module)

        spec.loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Afterwards({"torch": _torch, "benchsuite.hardware.devices": _devices}))
