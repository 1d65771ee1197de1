"""What strangers' plugins have been described as, remembered by a digest of their files."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from benchsuite.contracts.digests import code_digest
from benchsuite.store.files import read_regular, write_atomically
from benchsuite.store.texts import read_json

if TYPE_CHECKING:
    from benchsuite.registry.loading import PluginSource

_MOST_FILES = 500
_MOST_BYTES = 16 << 20


def recall(source: PluginSource) -> object | None:
    """The description remembered for these very files, host, Python and libraries, if there is one."""
    path = _path(source)
    if path is None:
        return None
    try:
        return read_json(read_regular(path, _MOST_BYTES))  # type: ignore[no-any-return]  # the caller checks it
    except (OSError, ValueError, RecursionError):
        return None


def remember(source: PluginSource, description: object) -> None:
    """Keep a description, where there is a place for it."""
    path = _path(source)
    if path is None:
        return
    try:
        write_atomically(path, json.dumps(description))
    except OSError:
        return  # it is only slower to ask again


def _path(source: PluginSource) -> Path | None:
    """The file of the memory; None where the plugin's files cannot be told, or are too many to read."""
    files = _files(source)
    if files is None:
        return None
    # What describes a plugin may find other mistakes in the same files after a change of the host.
    describing = code_digest("benchsuite.registry.stranger_main")
    digest = hashlib.sha256(f"{source}\0{describing}\0{sys.version}\0{_installed()}\0".encode())
    try:
        if len(files) > _MOST_FILES or sum(file.stat().st_size for file in files) > _MOST_BYTES:
            return None
        for file in sorted(files):
            digest.update(f"{file}\0".encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError:
        return None
    return Path(platformdirs.user_cache_dir("benchsuite")) / "plugins" / f"{digest.hexdigest()[:32]}.json"


def _files(source: PluginSource) -> list[Path] | None:
    """The Python files that the plugin may consist of: those beside it, or of its package."""
    if source.kind == "file":
        file = Path(source.value).resolve()
        return [file, *file.parent.glob("*.py")] if file.is_file() else None
    try:
        spec = importlib.util.find_spec(source.value.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = [file for folder in folders for file in folder.rglob("*.py")]
    return [*found, Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else found or None


@cache
def _installed() -> str:
    """Which distributions there are in which versions: another one may let an import succeed."""
    names = []
    for place in sys.path:
        try:
            names += [entry.name for entry in os.scandir(place or ".") if entry.name.endswith("-info")]
        except OSError:
            continue
    return "\n".join(sorted(names))
