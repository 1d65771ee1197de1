"""Where in a plugin's own code an error arose."""

from __future__ import annotations

import importlib.metadata
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.contracts.digests import HOST, PLUGIN_FILE

if TYPE_CHECKING:
    from types import FrameType

_NO_GRADIENT = "; nothing has a .grad here, context.gradients() gives gradients"


def plugin_line(error: BaseException | None) -> str:
    """` (file.py:11)`, the innermost line of a plugin's code that an error or its cause passed; else nothing.

    Folders are left out: the text may be stored and sent to others. It is also said where a gradient was
    looked for that is none.
    """
    while error is not None:
        passed = [walked for walked in traceback.walk_tb(error.__traceback__) if _is_of_a_plugin(walked[0])]
        if passed:
            frame, line = passed[-1]
            hint = _NO_GRADIENT if "NoneType" in str(error) and "grad" in frame.f_code.co_names else ""
            return f" ({Path(frame.f_code.co_filename).name}:{line}{hint})"
        error = error.__cause__
    return ""


def _is_of_a_plugin(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if package.startswith(PLUGIN_FILE):
        return True
    try:
        if package in _installed():
            return True
    except OSError:  # a plugin may have left no file descriptor; its error is to be told all the same
        return False
    file = Path(frame.f_code.co_filename)
    beside = any(file.is_relative_to(folder) for folder in _folders_of_files())
    return beside and package != HOST and "site-packages" not in file.parts


@cache
def _installed() -> frozenset[str]:
    """The packages that have plugins, shipped ones among them."""
    points = importlib.metadata.entry_points(group=HOST)
    return frozenset(point.value.partition(":")[0].partition(".")[0] for point in points)


def _folders_of_files() -> list[Path]:
    """Where the plugin files lie that are loaded: modules beside them are theirs."""
    files = [m.__file__ for name, m in list(sys.modules.items()) if name.startswith(PLUGIN_FILE)]
    return [Path(file).parent for file in files if file]
