"""What the fork server loads, so that every worker is born with it.

The fork server is a process of its own that takes no arguments: it imports `preloaded`, and an environment
variable names the modules.
"""

from __future__ import annotations

import gc
import importlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from benchsuite.plugins import discover_shipped

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "BENCHSUITE_PRELOADED_MODULES"


def ask_for(modules: Iterable[str]) -> None:
    """Have a fork server that is started from now on import these modules."""
    os.environ[VARIABLE] = ",".join(modules)


def preload() -> None:
    """Load everything, and keep the garbage collector off it."""
    discover_shipped()
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        # Whatever is wrong with a module, the worker that needs it imports it again and reports it.
        with suppress(Exception):
            importlib.import_module(name)
    # A worker's collector would look through all of it, and each look at an object copies its page, which
    # takes half a second of every worker. What stands here now is no garbage.
    gc.collect()
    gc.freeze()
