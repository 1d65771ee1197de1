"""Guarded discovery: plugins are loaded one by one, and a broken one is listed with its error."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pluggy

from benchsuite.contracts.digests import PLUGIN_FILE, registered_by
from benchsuite.errors import PluginError
from benchsuite.registry import hookspecs
from benchsuite.registry.registry import KINDS, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchsuite.contracts.plugin import Kind, Plugin


GROUP = "benchsuite"


class _Host:
    """Loads plugins one by one; one that fails to load is listed, and the others are not affected."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)

    def add(self, name: str, origin: str, version: str, load: Callable[[], object]) -> None:
        try:
            plugin = load()
            self.manager.register(plugin, name=f"{origin}:{name}")
            self._register_classes(plugin, origin, version)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - an import may raise anything, SystemExit included
            self.registry.fail(name, origin, version, _brief(error))

    def add_installed(self, point: importlib.metadata.EntryPoint) -> None:
        version = point.dist.version if point.dist else "?"
        self.add(point.name, f"{_distribution(point)} ({point.value})", version, point.load)

    def _register_classes(self, plugin: object, origin: str, version: str) -> None:
        hooks: tuple[tuple[tuple[Kind, ...], Any], ...] = (
            (("scorer",), self.manager.hook.benchsuite_register_scorers),
            (("model",), self.manager.hook.benchsuite_register_models),
            (("dataset", "concepts"), self.manager.hook.benchsuite_register_datasets),
        )
        for kinds, hook in hooks:
            for implementation in hook.get_hookimpls():
                if implementation.plugin is plugin:

                    def register(cls: type[Plugin], /, kinds: tuple[Kind, ...] = kinds) -> None:
                        fitting = [k for k in kinds if isinstance(cls, type) and issubclass(cls, KINDS[k][0])]
                        if isinstance(cls, type):
                            registered_by(cls, getattr(plugin, "__name__", ""))
                        for kind in fitting or kinds[:1]:
                            self.registry.add(kind, cls, origin, version)

                    arguments = {"register": register}
                    implementation.function(*(arguments[a] for a in implementation.argnames))


def _brief(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _load_file(path: Path) -> object:
    if not path.is_file():
        raise PluginError(f"there is no file {path}")
    path = path.resolve()  # of a link the file that it leads to, with what lies beside it
    name = f"{PLUGIN_FILE}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # modules beside it can be imported, but hide no library
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def discover(files: Sequence[Path] = ()) -> tuple[Registry, pluggy.PluginManager]:
    """Load the installed plugins (entry points of the group `benchsuite`) and the given files.

    Returns the registry and the pluggy manager that carries the observers' hooks. Never raises for a
    plugin's fault: `Registry.infos` lists it with its error.
    """
    host = _Host()
    for point in _entry_points():
        host.add_installed(point)
    for path in files:
        host.add(path.stem, str(path), "-", lambda path=path: _load_file(path))  # type: ignore[misc]  # bound early
    return host.registry, host.manager


def discover_shipped() -> Registry:
    """Load the plugins that come with benchsuite and no others; later, `discover` finds them loaded."""
    host = _Host()
    for point in _entry_points():
        if _distribution(point) == "benchsuite":
            host.add_installed(point)
    return host.registry


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    return sorted(importlib.metadata.entry_points(group=GROUP), key=lambda p: (p.value, p.name))


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.metadata["Name"] if point.dist else "?"
