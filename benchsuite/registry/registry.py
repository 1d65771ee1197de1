"""The registry: every plugin by kind and name."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from benchsuite.contracts.concepts import ConceptPlugin
from benchsuite.contracts.dataset import DatasetPlugin
from benchsuite.contracts.model import ModelFamily, ModelPlugin
from benchsuite.contracts.plugin import Kind, Plugin, parameter_model, validated_parameters
from benchsuite.errors import UsageError, suggestion
from benchsuite.metrics.metric import Metric, declaration_problem
from benchsuite.registry.near_misses import near_misses
from benchsuite.scoring.scorer import Scorer
from benchsuite.store.keys import plain

KINDS: dict[Kind, tuple[type[Plugin], str]] = {
    "scorer": (Scorer, "score"),
    "model": (ModelPlugin, "build"),
    "dataset": (DatasetPlugin, "load"),
    "concepts": (ConceptPlugin, "concepts"),
    "metric": (Metric, "measure"),
}
_FLAGS = ("coupled", "sums_to_units", "needs_target", "absolute", "data_free", "needs_training_trace")
NAME = r"^[a-z0-9]+([-_.][a-z0-9]+)*$"
"""What plugins may be called."""


@dataclass(frozen=True)
class PluginInfo:
    """One line of `benchsuite plugins`: a plugin that works, or one that does not and why.

    Attributes:
        origin: the distribution or file that it comes from.
        summary: the first line of its docstring.
        parameters: by name, their defaults.
        granularity: of a scorer: unit, weight or both.
        needs: of a scorer: what it needs beside the weights.
        warning: what may be a mistake in one that works.
    """

    name: str
    kind: Kind | Literal["plugin"]
    origin: str
    version: str
    status: Literal["ok", "error"]
    error: str | None = None
    summary: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    granularity: str | None = None
    needs: tuple[str, ...] = ()
    warning: str = ""


@dataclass
class Registry:
    """Every plugin that was found, by kind and name."""

    infos: list[PluginInfo] = field(default_factory=list)
    _classes: dict[Kind, dict[str, tuple[type[Plugin], str]]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    _duplicates: dict[tuple[Kind, str], str] = field(default_factory=dict)

    def names(self, kind: Kind) -> list[str]:
        """Registered names of a kind, sorted."""
        return sorted(self._classes[kind])

    def classes(self, kind: Kind) -> dict[str, type[Plugin]]:
        """The classes of a kind by name."""
        return {name: cls for name, (cls, _) in self._classes[kind].items()}

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
            if "/" not in name:
                raise UsageError(f"{name} is a family of models; name one as {name}/…")
            parameters = {**parameters, "architecture": name.split("/", 1)[1]}
        return cls(**parameters)

    def _family(self, name: str) -> type[Plugin]:
        prefix, architecture = name.split("/", 1)
        if ("model", prefix) in self._duplicates:
            raise UsageError(self._duplicates["model", prefix])
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
        label = str(name) if name else _shown(cls)
        problem = _class_problem(kind, cls)
        if problem is not None:
            self.infos.append(PluginInfo(label, kind, origin, version, "error", problem))
            return
        summary = (cls.__doc__ or "").strip().splitlines()
        info = PluginInfo(
            label,
            kind,
            origin,
            version,
            "ok",
            summary=summary[0] if summary else "",
            parameters={n: f.default for n, f in parameter_model(cls).model_fields.items()},
            granularity=cls.granularity if issubclass(cls, Scorer) else None,
            needs=_needs(cls),
            warning=near_misses(KINDS[kind][0], cls),
        )
        self.enter(kind, cls, info)

    def enter(self, kind: Kind, cls: type[Plugin], info: PluginInfo) -> bool:
        """List a class that has been checked, and make it known unless its name is taken; whether it was not.

        A name that two have is nobody's: whoever uses it is told of both.
        """
        taken = self._classes[kind].get(info.name)
        if taken is None or taken[0] is cls:
            self._classes[kind][info.name] = (cls, info.origin)
            self.infos.append(info)
            return True
        problem = f"{kind} {info.name!r} is defined twice: by {taken[1]} and by {info.origin}"
        self._duplicates[kind, info.name] = problem
        self.infos.append(PluginInfo(info.name, kind, info.origin, info.version, "error", problem))
        return False

    def fail(self, name: str, origin: str, version: str, error: str) -> None:
        """List a plugin that could not be loaded."""
        self.infos.append(PluginInfo(name, "plugin", origin, version, "error", error))


def _class_problem(kind: Kind, cls: object) -> str | None:
    base, method = KINDS[kind]
    if isinstance(cls, base):
        name = type(cls).__name__
        return f"an instance of {name} was registered: pass the class, register({name})"
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"{_shown(cls)} is not a subclass of benchsuite.{base.__name__}"
    if not isinstance(cls.name, str) or not re.fullmatch(NAME, cls.name):
        return f"{cls.__name__}.name is {cls.name!r}; it must be lower-case words joined by hyphens"
    others = ("build_named",) if issubclass(cls, ModelPlugin) else ()
    if all(getattr(cls, name) is getattr(base, name) for name in (method, *others)):
        return f"{cls.__name__} does not define {method}(){_near_method(cls, base, method)}"
    if issubclass(cls, Scorer) and (problem := _scorer_problem(cls)) is not None:
        return problem
    if issubclass(cls, Metric) and (problem := declaration_problem(cls.quantities, cls.stages)) is not None:
        return f"{cls.__name__}: {problem}"
    try:
        values = validated_parameters(cls, {})
    except Exception as error:  # noqa: BLE001 - anything a stranger's annotations can raise
        return f"its parameters are malformed: {error}"
    return next((p for name, value in values.items() if (p := _default_problem(name, value))), None)


def _default_problem(name: str, value: object) -> str | None:
    """Why records cannot hold the default of a parameter, if so: they are JSON."""
    try:
        json.dumps(value, allow_nan=False, default=plain)
    except Exception as error:  # noqa: BLE001 - a value's own methods may raise anything
        return (
            f"the default of its parameter {name!r} is {value!r}, which records cannot hold ({error}); "
            "None can stand for what is not there"
        )
    return None


def _shown(registered: object) -> str:
    return registered.__name__ if isinstance(registered, type) else repr(registered)


def _near_method(cls: type[Plugin], base: type[Plugin], method: str) -> str:
    own = [name for name in dir(cls) if not hasattr(base, name) and callable(getattr(cls, name, None))]
    near = difflib.get_close_matches(method, own, n=1)
    return f"; it defines {near[0]}()" if near else ""


def _scorer_problem(cls: type[Scorer]) -> str | None:
    if cls.granularity not in ("unit", "weight", "both"):
        return f"{cls.__name__}.granularity is {cls.granularity!r}; it must be unit, weight or both"
    if type(cls.draws) is not int or cls.draws < 1:
        return f"{cls.__name__}.draws is {cls.draws!r}; it must be a whole number, at least 1"
    if cls.scale not in ("layer", "network"):
        return f"{cls.__name__}.scale is {cls.scale!r}; it must be layer or network"
    for name in _FLAGS:
        if not isinstance(getattr(cls, name), bool):
            return f"{cls.__name__}.{name} is {getattr(cls, name)!r}; it must be True or False"
    if not (isinstance(cls.imports, tuple) and all(isinstance(module, str) for module in cls.imports)):
        return f"{cls.__name__}.imports is {cls.imports!r}; it must be a tuple of modules' names"
    return None


def _needs(cls: type[Plugin]) -> tuple[str, ...]:
    """What a scorer needs beside the weights."""
    if not issubclass(cls, Scorer):
        return ()
    needs = (("data", not cls.data_free), ("training trace", cls.needs_training_trace))
    return tuple(need for need, wanted in needs if wanted)
