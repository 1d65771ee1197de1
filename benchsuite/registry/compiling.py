"""Importing plugins from their source as it stands, never from a bytecode cache.

Python takes a cached module for that of its source if the length and the time of change agree, which is to
the second. A plugin that is edited twice within one, or copied with its times, would run its old code under
the content key of the new.
"""

from __future__ import annotations

import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType

_roots: set[Path] = set()


class FromSource(SourceFileLoader):
    """Compiles a module's source each time it is imported."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the source as it is now."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def compile_always(folder: Path) -> None:
    """From now on, import modules of a folder and of the folders in it from their source."""
    root = folder.resolve()
    if root in _roots:
        return
    if not _roots:
        sys.path_hooks.insert(0, _finder)
    _roots.add(root)
    for known in [path for path in sys.path_importer_cache if _is_within(path)]:
        del sys.path_importer_cache[known]


def _finder(path: str) -> FileFinder:
    """What finds modules in a folder; raises `ImportError` for folders that are none of ours."""
    if not _is_within(path):
        raise ImportError(path)
    return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (FromSource, SOURCE_SUFFIXES))


def _is_within(path: str) -> bool:
    folder = Path(path or ".").resolve()
    return any(folder.is_relative_to(root) for root in _roots)
