"""Plugin files of which one could get a module that lies beside another, where one process loads both.

Python knows a module by its name alone: of two files `helpers.py` in two folders, the first to be imported
serves both plugins. The content keys were made where each was alone, so such files never share a process.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from itertools import combinations
from pathlib import Path

from benchsuite.contracts.sources import module_in, read_source, sources_beside
from benchsuite.errors import PluginError


def refuse_clashes(*files: Path) -> None:
    """Raise `PluginError` naming both, if of two files one could get a module of the other in a process."""
    for first, second in combinations([file for file in files if file.is_file()], 2):
        for importing, other in ((first, second), (second, first)):
            name = _shared_name(importing.resolve(), other.resolve())
            if name is not None:
                raise PluginError(
                    f"plugin files {importing} and {other} cannot run in one process: the first imports "
                    f"{name!r}, and beside the second lies a module of that name; rename one of the "
                    "modules, or put both plugins into one folder"
                )


def _shared_name(importing: Path, other: Path) -> str | None:
    """A module that a plugin file imports and that lies beside another, which is in another folder."""
    if importing.parent == other.parent:
        return None
    folders = (importing.parent, other.parent)
    names = sorted(_imported(importing))
    beside = (name for name in names if _lies_in(other.parent, name))
    return next((name for name in beside if not _is_library(name, folders)), None)


def _imported(file: Path) -> frozenset[str]:
    """First parts of the names of all modules that a file may import, itself or through those beside it."""
    pending = [(file, file.stem)]
    seen: set[Path] = set()
    names: set[str] = set()
    while pending:
        path, name = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        source = read_source(path, name)
        imported = set(source.imports)
        if source.imports_by_computed_names:
            beside = (source.file.relative_to(file.parent) for source in sources_beside(file))
            imported |= {place.parts[0].removesuffix(".py") for place in beside}
        for full in imported:
            parts = full.split(".")
            names.add(parts[0])
            for count in range(1, len(parts) + 1):
                inner = ".".join(parts[:count])
                found = module_in(file.parent, inner) if parts[0] else None
                if found is not None:
                    pending.append((found, inner))
    return frozenset(names - {""})


def _lies_in(folder: Path, name: str) -> bool:
    """Whether Python would find a module of that name in a folder; folders without any code are none."""
    loaders = ((ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceFileLoader, SOURCE_SUFFIXES))
    spec = FileFinder(str(folder), *loaders).find_spec(name)
    if spec is None or spec.loader is not None:
        return spec is not None
    return any(True for _ in (folder / name).rglob("*.py"))


def _is_library(name: str, folders: tuple[Path, ...]) -> bool:
    """Whether a library has that name, which Python finds before anything beside a plugin file."""
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return True
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return not any(Path(place).resolve().is_relative_to(folder) for place in places for folder in folders)
