"""Loading plugins into this process, one by one: a broken one is listed with its error."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from benchsuite.contracts.digests import PLUGIN_FILE, registered_by
from benchsuite.errors import BenchsuiteError, PluginError
from benchsuite.registry import hookspecs
from benchsuite.registry.clashes import refuse_clashes
from benchsuite.registry.compiling import FromSource, compile_always
from benchsuite.registry.raised_at import plugin_line
from benchsuite.registry.registry import KINDS, Registry
from benchsuite.registry.unregistered import missed_hook, nothing_registered, wrong_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchsuite.contracts.plugin import Kind, Plugin

GROUP = "benchsuite"
SHIPPED = "benchsuite"
"""The distribution whose plugins come with the host."""


@dataclass(frozen=True)
class PluginSource:
    """Where plugins come from: an entry point of an installed distribution, or a file.

    Attributes:
        kind: which of the two.
        name: of the entry point, or of the file without its ending.
        value: of the entry point, or the file's path.
        distribution: that the entry point belongs to.
        version: of the distribution.
    """

    kind: Literal["installed", "file"]
    name: str
    value: str
    distribution: str = ""
    version: str = "-"

    @classmethod
    def of_file(cls, path: Path) -> PluginSource:
        """The source that a file is."""
        return cls("file", path.stem, str(path))

    def resolved(self) -> PluginSource:
        """The same with an absolute path, for a process that may work in another folder."""
        return replace(self, value=str(Path(self.value).resolve())) if self.kind == "file" else self

    @property
    def shipped(self) -> bool:
        """Whether it comes with benchsuite; anything else is a stranger's."""
        return self.distribution == SHIPPED

    @property
    def origin(self) -> str:
        """What people read."""
        return self.value if self.kind == "file" else f"{self.distribution} ({self.value})"

    def load(self) -> object:
        """Import it; whatever its code raises comes out."""
        if self.kind == "file":
            return _load_file(Path(self.value))
        if not self.shipped:
            _compile_editable(self.value)
        return importlib.metadata.EntryPoint(self.name, self.value, GROUP).load()


def installed() -> list[PluginSource]:
    """The entry points of the group `benchsuite`, in a fixed order."""
    points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda p: (p.value, p.name))
    return [
        PluginSource(
            "installed",
            point.name,
            point.value,
            point.dist.metadata["Name"] if point.dist else "?",
            point.dist.version if point.dist else "?",
        )
        for point in points
    ]


class Host:
    """Loads plugins one by one; one that fails to load is listed, and the others are not affected."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self._files: list[Path] = []

    def add(self, source: PluginSource) -> None:
        """Load a plugin and what it registers."""
        try:
            if source.kind == "file":
                refuse_clashes(*self._files, Path(source.value))
                self._files.append(Path(source.value))
            plugin = source.load()
            if problem := wrong_arguments(plugin):
                raise PluginError(problem)
            self.manager.register(plugin, name=f"{source.origin}:{source.name}")
            before = len(self.registry.infos)
            self._register_classes(plugin, source)
            if problem := self._not_registered(plugin, source, anything=len(self.registry.infos) > before):
                raise PluginError(problem)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - an import may raise anything, SystemExit included
            self.registry.fail(source.name, source.origin, source.version, _brief(error))

    def _not_registered(self, plugin: object, source: PluginSource, *, anything: bool) -> str | None:
        """What of a plugin looks as if it were to be registered and is not."""
        problem = missed_hook(plugin)
        callers = self.manager.get_hookcallers(plugin)
        # A package may register nothing where a library is not installed; of a file it is a mistake.
        observes = any("register" not in caller.name for caller in callers or ())
        if anything or observes or (callers and source.kind == "installed"):
            return problem
        return "; ".join(filter(None, [problem, nothing_registered(plugin)]))

    def _register_classes(self, plugin: object, source: PluginSource) -> None:
        hooks: tuple[tuple[tuple[Kind, ...], Any], ...] = (
            (("scorer",), self.manager.hook.benchsuite_register_scorers),
            (("model",), self.manager.hook.benchsuite_register_models),
            (("dataset", "concepts"), self.manager.hook.benchsuite_register_datasets),
            (("metric",), self.manager.hook.benchsuite_register_metrics),
        )
        for kinds, hook in hooks:
            for implementation in hook.get_hookimpls():
                if implementation.plugin is plugin:

                    def register(cls: type[Plugin], /, kinds: tuple[Kind, ...] = kinds) -> None:
                        fitting = [k for k in kinds if isinstance(cls, type) and issubclass(cls, KINDS[k][0])]
                        if isinstance(cls, type):
                            registered_by(cls, getattr(plugin, "__name__", ""))
                        for kind in fitting or kinds[:1]:
                            self.registry.add(kind, cls, source.origin, source.version)

                    arguments = {"register": register}
                    implementation.function(*(arguments[a] for a in implementation.argnames))


def load_plugins(sources: Iterable[PluginSource]) -> Host:
    """Load plugins into this process. Never raises for a plugin's fault: it is listed with its error."""
    host = Host()
    for source in sources:
        host.add(source)
    return host


def _brief(error: BaseException) -> str:
    """What a plugin's import or registration raised, and in which line of the plugin."""
    if isinstance(error, BenchsuiteError):
        return str(error)
    return f"{type(error).__name__}: {error}{plugin_line(error)}"


def _compile_editable(value: str) -> None:
    """See to it that a package that somebody works on, not in a folder of pip, runs as it stands."""
    package = importlib.util.find_spec(value.partition(":")[0].partition(".")[0])
    if package is None or package.origin is None:
        return
    folder = Path(package.origin).parent
    root = folder.parent if package.submodule_search_locations else folder
    if root.name not in ("site-packages", "dist-packages"):
        compile_always(root)


def _load_file(path: Path) -> object:
    if not path.is_file():
        raise PluginError(f"there is no file {path}")
    path = path.resolve()  # of a link the file that it leads to, with what lies beside it
    name = f"{PLUGIN_FILE}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    compile_always(path.parent)
    spec.loader = FromSource(name, str(path))
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
