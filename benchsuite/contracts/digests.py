"""Digests of source code, for content keys: of stages of the host, and of plugins.

What belongs to a digest is found by following imports through the source, those for type checking included,
since objects of these types run their code in the stage.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from benchsuite.contracts.libraries import distributions_of, library_versions
from benchsuite.contracts.sources import Source, module_in, only_registers, read_source, sources_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchsuite.contracts.plugin import Plugin

HOST = "benchsuite"
PLUGIN_FILE = "benchsuite_plugin_"
"""What the names of modules begin with that are loaded from files given with `--plugin`."""
_STANDARD = Path(sysconfig.get_path("stdlib"))
DRAWING = "benchsuite.drawing"
"""The room whose code draws what was measured and decides no number; no digest has it."""


@cache
def code_digest(*modules: str, root: Path | None = None) -> str:
    """A hash of modules of the host and of all modules of the host that they import.

    What was found is kept for the process: code that runs does not change.

    Args:
        modules: dotted names, such as "benchsuite.trials.scores".
        root: the folder that holds the package; that of the running one if not given.
    """
    return _digest(_closure(modules, _in_folder(root or _home(), HOST)))


@cache
def code_libraries(*modules: str) -> dict[str, str]:
    """The versions of the libraries that such modules compute with; see `library_versions`."""
    return library_versions(_libraries(_closure(modules, _in_folder(_home(), HOST))))


def covered_modules(*modules: str, root: Path | None = None) -> frozenset[str]:
    """Names of the modules that `code_digest` covers."""
    return frozenset(_closure(modules, _in_folder(root or _home(), HOST)))


def source_digest(cls: type[Plugin]) -> str:
    """A hash of the source that decides what a plugin does.

    It covers the modules that define the class and its bases, and what these import, directly or by a name
    that stands in a call, of the plugin's own folder or distribution and of the host's rooms. Where a module
    imports by a name that is computed, all modules beside it count.
    """
    if cls in _DIGESTED_ELSEWHERE:
        return _DIGESTED_ELSEWHERE[cls][0]
    return _digest(_plugin_sources(_defining(cls)))


def source_libraries(cls: type[Plugin]) -> dict[str, str]:
    """The versions of the libraries that a plugin's source imports; see `library_versions`."""
    if cls in _DIGESTED_ELSEWHERE:
        return _DIGESTED_ELSEWHERE[cls][1]
    return library_versions(_libraries(_plugin_sources(_defining(cls))))


def uncovered_files(cls: type[Plugin], modules: Iterable[str]) -> list[Path]:
    """Of loaded modules the files that are the plugin's own and that `source_digest` does not cover."""
    covered = {source.file.resolve() for source in _plugin_sources(_defining(cls)).values()}
    find = _of_plugin(cls.__module__)
    own = (find(name) for name in modules if not _is_host(name))
    return [file for file in own if file is not None and file.resolve() not in covered]


def _home() -> Path:
    return Path(__file__).parents[2]


_REGISTERED_BY: WeakKeyDictionary[type, str] = WeakKeyDictionary()
"""The module whose hook registered a plugin's class."""


_DIGESTED_ELSEWHERE: WeakKeyDictionary[type, tuple[str, dict[str, str]]] = WeakKeyDictionary()
"""Digest and libraries of classes that stand for a plugin which another process has loaded."""


def digested_elsewhere(cls: type, digest: str, libraries: dict[str, str]) -> None:
    """Note what `source_digest` and `source_libraries` are of the plugin that a class stands for."""
    _DIGESTED_ELSEWHERE[cls] = digest, libraries


def registered_by(cls: type, module: str) -> None:
    """Note which module registers a class: it may have made the class, or changed it."""
    _REGISTERED_BY.setdefault(cls, module)


def _defining(cls: type[Plugin]) -> tuple[str, ...]:
    """Modules of the class and of its bases that are not the host's own, and the one that registers it.

    A module that does nothing but import classes and register them is left out: it lists other plugins too.
    """
    modules = dict.fromkeys(base.__module__ for base in cls.__mro__)
    registering = _REGISTERED_BY.get(cls)
    if registering is not None and registering not in modules:
        file = _file_of(registering)
        if file is not None and not only_registers(file):
            modules[registering] = None
    return tuple(name for name in modules if name != "builtins" and not _is_host(name))


def _is_host(module: str) -> bool:
    return module == HOST or module.startswith(f"{HOST}.")


@cache
def _plugin_sources(modules: tuple[str, ...]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for module in modules:
        found |= _closure([module], _of_plugin(module))
    return found


def _of_plugin(module: str) -> Callable[[str], Path | None]:
    """What finds the files of modules that belong to the same plugin as a loaded one, and of the host's.

    A plugin's own are the modules beside it, those of its distribution, and those that no installed
    distribution holds: nothing else says which version of them is there.
    """
    top = module.partition(".")[0]
    own = _file_of(module)
    places = getattr(sys.modules.get(top), "__path__", None)
    folders = [Path(place).parent for place in places] if places else [own.parent] if own else []
    installed = own is not None and _is_library(own)
    folders = [folder for folder in folders if not _is_library(folder)]
    host = _in_folder(_home(), HOST)

    def is_other_library(file: Path, first: str) -> bool:
        if not _is_library(file) or first == top:
            return False
        return not (installed and distributions_of(first) & distributions_of(top))

    def find(name: str) -> Path | None:
        if name == module:
            return own
        if _is_host(name):
            # The public API alone says nothing: the stage's own code covers it.
            return host(name) if name != HOST else None
        first = name.partition(".")[0]
        if first in sys.stdlib_module_names:
            return None
        found = _file_of(name)
        if found is None:  # then as Python looks: what lies beside a plugin file hides no library
            beside = (module_in(folder, name) for folder in folders)
            found = _unloaded(name) or next((file for file in beside if file is not None), None)
        return None if found is None or is_other_library(found, first) else found

    return find


def _unloaded(name: str) -> Path | None:
    """The file of a module that is not loaded, where Python would find it."""
    first, _, rest = name.partition(".")
    origin, places = _place_of(first)
    if not rest:
        return origin
    inside = (module_in(place, rest) for place in places)
    return next((file for file in inside if file is not None), None)


@cache
def _place_of(first: str) -> tuple[Path | None, tuple[Path, ...]]:
    """Where Python would find a module of the first level: its source, and the folders of a package."""
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None, ()
    if spec is None:
        return None, ()
    origin = Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    return origin, tuple(Path(place) for place in spec.submodule_search_locations or ())


@cache
def _is_library(path: Path) -> bool:
    """Whether a path lies where libraries are installed, whose versions are known."""
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.is_relative_to(_STANDARD)


def _file_of(name: str) -> Path | None:
    """The source of a module that is loaded."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and file.endswith(".py") else None


def _in_folder(root: Path, package: str) -> Callable[[str], Path | None]:
    """What finds the files of a package's modules in a folder, without those that only draw."""

    def find(name: str) -> Path | None:
        own = name == package or name.startswith(f"{package}.")
        drawing = name == DRAWING or name.startswith(f"{DRAWING}.")
        return module_in(root, name) if own and not drawing else None

    return find


def _closure(modules: Iterable[str], find: Callable[[str], Path | None]) -> dict[str, Source]:
    """The sources of modules and of all that they import, by name, as far as `find` knows a file for it."""
    pending = list(modules)
    found: dict[str, Source] = {}
    while pending:
        name = pending.pop()
        file = None if name in found else find(name)
        if file is None:
            continue
        source = found[name] = read_source(file, name)
        if name == HOST:
            continue  # its names are loaded when they are used
        if source.imports_by_computed_names:
            found |= {f"beside {b.file.relative_to(file.parent)}": b for b in sources_beside(file)}
        # Python runs a package before what is in it.
        pending += [*source.imports, *_packages(name)]
    return found


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _digest(sources: dict[str, Source]) -> str:
    """Of names and contents; a plugin file has no name of its own: its key is the same wherever it lies."""
    named = {
        ("" if name.startswith(PLUGIN_FILE) else name): source.digest for name, source in sources.items()
    }
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def _libraries(sources: dict[str, Source]) -> frozenset[str]:
    own = {name.partition(".")[0] for name in sources}
    named = {name.partition(".")[0] for source in sources.values() for name in source.imports}
    return frozenset(named - own - {HOST})
