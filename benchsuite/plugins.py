"""Guarded discovery of plugins and the registry of what they offer."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from benchsuite import hookspecs
from benchsuite._version import __version__
from benchsuite.concepts import ConceptPlugin
from benchsuite.datasets import DatasetPlugin
from benchsuite.errors import PluginError, UsageError, suggestion
from benchsuite.models import ModelFamily, ModelPlugin
from benchsuite.parameters import Plugin, parameter_model, validated_parameters
from benchsuite.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GROUP = "benchsuite"

Kind = Literal["scorer", "model", "dataset", "concepts"]

_KINDS: dict[Kind, tuple[type[Plugin], str]] = {
    "scorer": (Scorer, "score"),
    "model": (ModelPlugin, "build"),
    "dataset": (DatasetPlugin, "load"),
    "concepts": (ConceptPlugin, "concepts"),
}
_NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")


@dataclass(frozen=True)
class PluginInfo:
    """One line of `benchsuite plugins`: a plugin that works, or one that does not and why."""

    name: str
    kind: Kind | Literal["plugin"]
    origin: str
    version: str
    status: Literal["ok", "error"]
    error: str | None = None
    summary: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Registry:
    """Every plugin that was found, by kind and name."""

    infos: list[PluginInfo] = field(default_factory=list)
    _classes: dict[Kind, dict[str, tuple[type[Plugin], str]]] = field(
        default_factory=lambda: {kind: {} for kind in _KINDS}
    )
    _duplicates: dict[tuple[Kind, str], str] = field(default_factory=dict)

    def names(self, kind: Kind) -> list[str]:
        """Registered names of a kind, sorted."""
        return sorted(self._classes[kind])

    def get(self, kind: Kind, name: str) -> type[Plugin]:
        """The class of that name; raises `UsageError` with the nearest valid names."""
        if (kind, name) in self._duplicates:
            raise UsageError(self._duplicates[kind, name])
        if name in self._classes[kind]:
            return self._classes[kind][name][0]
        if kind == "model" and "/" in name:
            return self._family(name)
        broken = next((i for i in self.infos if i.name == name and i.status == "error"), None)
        if broken is not None:
            raise UsageError(f"{kind} {name!r} ({broken.origin}) is broken: {broken.error}")
        raise UsageError(f"there is no {kind} {name!r}{suggestion(name, self._all_names(kind))}")

    def create(self, kind: Kind, name: str, parameters: dict[str, Any]) -> Plugin:
        """An instance with validated parameters; raises `UsageError`."""
        cls = self.get(kind, name)
        if issubclass(cls, ModelFamily):
            if "architecture" in parameters:
                raise UsageError(f"{name}: the architecture is the part after the slash, not a parameter")
            parameters = {**parameters, "architecture": name.split("/", 1)[1]}
        return cls(**parameters)

    def _family(self, name: str) -> type[Plugin]:
        prefix, architecture = name.split("/", 1)
        family = self._classes["model"].get(prefix, (None, ""))[0]
        if family is None or not issubclass(family, ModelFamily):
            families = [n for n, (c, _) in self._classes["model"].items() if issubclass(c, ModelFamily)]
            raise UsageError(f"there is no model family {prefix!r}{suggestion(prefix, families)}")
        known = family.architectures()
        if architecture not in known:
            raise UsageError(
                f"{prefix} has no architecture {architecture!r}{suggestion(architecture, known)}"
            )
        return family

    def _all_names(self, kind: Kind) -> list[str]:
        return [n + "/…" if issubclass(c, ModelFamily) else n for n, (c, _) in self._classes[kind].items()]

    def add(self, kind: Kind, cls: type[Plugin], origin: str, version: str) -> None:
        """Register a class, or list it with what is wrong with it."""
        name = cls.__dict__.get("name") or getattr(cls, "name", "") if isinstance(cls, type) else ""
        problem = _class_problem(kind, cls)
        taken = self._classes[kind].get(str(name))
        if problem is None and taken is not None and taken[0] is not cls:
            problem = f"{kind} {name!r} is defined twice: by {taken[1]} and by {origin}"
            self._duplicates[kind, str(name)] = problem
        label = str(name) if name else repr(cls)
        if problem is not None:
            self.infos.append(PluginInfo(label, kind, origin, version, "error", problem))
            return
        self._classes[kind][label] = (cls, origin)
        summary = (cls.__doc__ or "").strip().splitlines()
        self.infos.append(
            PluginInfo(
                label,
                kind,
                origin,
                version,
                "ok",
                summary=summary[0] if summary else "",
                details=_details(cls),
            )
        )

    def fail(self, name: str, origin: str, version: str, error: str) -> None:
        """List a plugin that could not be loaded."""
        self.infos.append(PluginInfo(name, "plugin", origin, version, "error", error))


def _class_problem(kind: Kind, cls: object) -> str | None:
    base, method = _KINDS[kind]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"{cls!r} is not a subclass of benchsuite.{base.__name__}"
    if not isinstance(cls.name, str) or not _NAME.fullmatch(cls.name):
        return f"{cls.__name__}.name is {cls.name!r}; it must be lower-case words joined by hyphens"
    if getattr(cls, method) is getattr(base, method):
        return f"{cls.__name__} does not define {method}()"
    if issubclass(cls, Scorer) and cls.granularity not in ("unit", "weight", "both"):
        return f"{cls.__name__}.granularity is {cls.granularity!r}; it must be unit, weight or both"
    if issubclass(cls, Scorer) and not (
        isinstance(cls.imports, tuple) and all(isinstance(module, str) for module in cls.imports)
    ):
        return f"{cls.__name__}.imports is {cls.imports!r}; it must be a tuple of modules' names"
    try:
        validated_parameters(cls, {})
    except Exception as error:  # noqa: BLE001 - anything a stranger's annotations can raise
        return f"its parameters are malformed: {error}"
    return None


def _details(cls: type[Plugin]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "parameters": {n: f.default for n, f in parameter_model(cls).model_fields.items()}
    }
    if issubclass(cls, Scorer):
        facts["granularity"] = cls.granularity
        facts["needs"] = [
            need
            for need, wanted in (
                ("data", not cls.data_free),
                ("training trace", cls.needs_training_trace),
            )
            if wanted
        ]
    return facts


class _Host:
    """Loads plugins one by one so that a broken one is listed and harms nobody."""

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
                        fitting = [
                            k for k in kinds if isinstance(cls, type) and issubclass(cls, _KINDS[k][0])
                        ]
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
    name = f"benchsuite_plugin_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
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


def source_digest(cls: type[Plugin]) -> str:
    """A hash of the source that defines a plugin: its modules and what they import of their own package."""
    return _sources_digest(tuple(b.__module__ for b in cls.__mro__ if not _is_given(b.__module__)))


def _is_given(module: str) -> bool:
    return module == "builtins" or module.startswith("benchsuite.")


@cache
def _sources_digest(modules: tuple[str, ...]) -> str:
    pending = list(modules)
    sources: dict[str, bytes] = {}
    while pending:
        name = pending.pop()
        file = None if name in sources else _module_file(name)
        if file is not None:
            sources[name] = file.read_bytes()
            pending += _imported(ast.parse(sources[name]), name)
    digest = hashlib.sha256()
    for source in sorted(sources.values()):  # by content: a plugin file keeps its key wherever it lies
        digest.update(source + b"\0")
    return digest.hexdigest()


def _module_file(name: str) -> Path | None:
    """The source of a module, found beside its package without importing anything."""
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return Path(file) if file else None
    top, *rest = name.split(".")
    for folder in getattr(sys.modules.get(top), "__path__", ()):
        place = Path(folder, *rest)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if rest and file.is_file():
                return file
    return None


def _imported(tree: ast.Module, importer: str) -> list[str]:
    """Modules of the importer's own top-level package that it imports, packages' `__init__` left out."""
    package = importer.split(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = importer.split(".")[: -node.level]
                base = ".".join([*parent, base] if base else parent)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in found if name.startswith(package + ".") and _module_file(name) is not None]


@cache
def host_digest() -> str:
    """A hash of the host's code that decides results: training, scoring, pruning, metrics and the trial."""
    here = Path(__file__).parent
    digest = hashlib.sha256(__version__.encode())
    modules = ("dense", "devices", "interpretability", "kernels", "keys", "scored", "trial")
    files = [here / f"{name}.py" for name in modules]
    for folder in ("training", "scoring", "pruning", "metrics"):
        files += sorted((here / folder).rglob("*.py"))
    for file in files:
        digest.update(str(file.relative_to(here)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
