"""What stands in this process for plugins of strangers, whose code runs in processes of their own."""

from __future__ import annotations

import atexit
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from benchsuite.contracts.concepts import ConceptPlugin
from benchsuite.contracts.dataset import DatasetPlugin
from benchsuite.contracts.digests import digested_elsewhere
from benchsuite.contracts.model import ModelFamily, ModelPlugin
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.errors import PluginError
from benchsuite.metrics.metric import Metric, declaration_problem
from benchsuite.registry.memory import recall, remember
from benchsuite.registry.registry import NAME, PluginInfo, Registry
from benchsuite.registry.stranger_process import NoAnswer, StrangerProcess
from benchsuite.scoring.scorer import Scorer
from benchsuite.store.keys import plain
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchsuite.contracts.plugin import Kind, Plugin
    from benchsuite.registry.loading import PluginSource

_BASES: dict[str, type[Plugin]] = {
    "scorer": Scorer,
    "model": ModelPlugin,
    "dataset": DatasetPlugin,
    "concepts": ConceptPlugin,
    "metric": Metric,
}


_ASKED_AGAIN = "it is not waited for again until its files change"
_MOST_DEATHS = 5
"""After so many deaths of a plugin's process it is asked nothing more."""


Answer = TypeVar("Answer")
_VALUES = TypeAdapter(dict[str, Any])
_TEXT = TypeAdapter(str)
_NAMES = TypeAdapter(list[str])
"""What answers have to be."""


class Facts(BaseModel):
    """Class variables that decide what a plan does with a plugin, and whether it is a family of models.

    They are checked here as the plugin's own process has checked them: what it sends may be forged.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field("", pattern=NAME)
    version: str = Field("1", max_length=200)
    family: bool = False
    granularity: Literal["unit", "weight", "both"] = "unit"
    sums_to_units: bool = False
    scale: Literal["layer", "network"] = "layer"
    coupled: bool = False
    draws: int = Field(1, ge=1)
    needs_training_trace: bool = False
    needs_target: bool = False
    absolute: bool = False
    data_free: bool = False
    recipe: TrainingRecipe | None = None
    quantities: dict[str, list[str | None]] = Field(default_factory=dict)
    stages: list[str] = Field(default_factory=list)


class Described(BaseModel):
    """One plugin as its process describes it.

    Attributes:
        info: its line of `benchsuite plugins`.
        facts: what a plan has to know of it; of one that is broken, nothing.
        source: see `source_digest`.
        libraries: see `source_libraries`.
        changing: what of it is another at each import, in a sentence; found here and remembered.
    """

    model_config = ConfigDict(extra="forbid")

    info: PluginInfo
    facts: Facts = Field(default_factory=Facts)
    source: str = ""
    libraries: dict[str, str] = Field(default_factory=dict)
    changing: str = ""

    @property
    def told(self) -> str:
        """What a plan was made from, as it is stored."""
        return self.model_dump_json(include={"info", "facts"})

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.info.status == "ok" and (self.info.kind not in _BASES or self.facts.name != self.info.name):
            raise ValueError(f"{self.info.kind} {self.info.name[:80]!r} is described as {self.facts.name!r}")
        problem = declaration_problem(self.facts.quantities, self.facts.stages)
        if self.info.status == "ok" and self.info.kind == "metric" and problem is not None:
            raise ValueError(f"metric {self.info.name[:80]!r}: {problem}")
        if self.facts.family and self.info.kind != "model":
            raise ValueError(f"{self.info.kind} {self.info.name[:80]!r} is described as a family of models")
        return self


class Description(BaseModel):
    """What a process says of the plugins that it has loaded.

    Attributes:
        plugins: every one, broken ones included.
        observes: the hooks by which they watch runs.
        silent: why the process described nothing; found here and remembered.
    """

    model_config = ConfigDict(extra="forbid")

    plugins: list[Described]
    observes: list[str] = Field(default_factory=list)
    silent: str = ""


class Stranger:
    """The plugins of one source, described once and asked when they are used."""

    def __init__(self, source: PluginSource) -> None:
        self.source = source
        self.error: str | None = None
        self._process: StrangerProcess | None = None
        self._fatal: dict[str, str] = {}
        self._stand_ins: dict[tuple[str, str], type[Plugin]] = {}
        self._description = _known(source)
        if self._description is None:
            self._process = StrangerProcess(source)  # several import at the same time
        elif self._description.silent:
            self.error = f"{self._description.silent}; {_ASKED_AGAIN}"

    @property
    def description(self) -> Description:
        """Its plugins; none of one whose process died, which `error` tells."""
        if self._description is None:
            assert self._process is not None
            try:
                self._description = self._described_twice(self._process)
            except PluginError as error:
                self.error = str(error)
                self._description = Description(plugins=[])
                if isinstance(error, NoAnswer):
                    self._remember(Description(plugins=[], silent=str(error)))
            else:
                self._remember(self._description)
        return self._description

    def ask(self, shape: TypeAdapter[Answer], ask: str, **question: Any) -> Answer:
        """Its answer; its process is started where only its memory has been used so far, or where it died.

        A question that it died of is not asked again.

        Args:
            shape: what an answer has to be.
            ask: what is asked for.
            question: the rest of the question.
        """
        described = self.description
        if self._process is None:
            self._process = StrangerProcess(self.source)
            self._compare(described, _described_by(self._process))
        if changing := self._changing(question):
            raise PluginError(f"{self.source.origin}: {question['name']}: {changing}")
        what = json.dumps([ask, question], sort_keys=True, default=plain)
        if what in self._fatal or len(self._fatal) >= _MOST_DEATHS:
            raise PluginError(self._fatal.get(what) or next(iter(self._fatal.values())))
        try:
            answer = self._process.ask({"ask": ask, **question})
        except PluginError as error:
            if not self._process.is_over:
                raise
            self._process = None
            self._fatal[what] = f"{self.source.origin}: {error}"
            raise PluginError(self._fatal[what]) from error
        try:
            return shape.validate_python(answer, strict=True)
        except ValidationError as error:
            raise PluginError(
                f"{self.source.origin}: its process sent no usable answer when it was asked for its {ask}"
            ) from error

    def stand_in(self, info: PluginInfo, described: Described) -> type[Plugin]:
        """The class that stands for one of its plugins."""
        cls = self._stand_ins[info.kind, info.name] = stand_in(self, info, described)
        return cls

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _described_twice(self, first: StrangerProcess) -> Description:
        """What two processes say, one after the other; the second is kept."""
        before = _described_by(first)
        self.close()
        self._process = StrangerProcess(self.source)
        return changes(before, _described_by(self._process))

    def _compare(self, before: Description, now: Description) -> None:
        """Take over what its process says now: it may import what the digest of its memory does not see.

        A plugin of which something is another at each import is broken, and the others are not.
        """
        unlike = changes(before, now)
        if any(plugin.changing for plugin in unlike.plugins):
            third = StrangerProcess(self.source)
            try:
                again = changes(now, _described_by(third))
            finally:
                third.close()
            self._remember(again)
            pairs = zip(unlike.plugins, again.plugins, strict=True)
            if any(old.changing and not new.changing for old, new in pairs):
                raise PluginError(f"{self.source.origin} says something else of its plugins now; run again")
            now = again
        elif now != before:
            self._remember(now)
        self._description = now
        for plugin in now.plugins:
            cls = self._stand_ins.get((plugin.info.kind, plugin.info.name))
            if cls is not None:
                digested_elsewhere(cls, plugin.source, plugin.libraries)

    def _changing(self, question: Mapping[str, Any]) -> str:
        """Why nothing is asked of the plugin that a question is about, if so."""
        kind, name = question.get("kind"), str(question["name"]).partition("/")[0]
        plugins = () if self._description is None else self._description.plugins
        same = (p for p in plugins if p.info.name == name and kind in (None, p.info.kind))
        return next((plugin.changing for plugin in same), "")

    def _remember(self, description: Description) -> None:
        remember(self.source, description.model_dump(mode="json", exclude_unset=True))


def changes(first: Description, second: Description) -> Description:
    """The second of two descriptions of the same files, with what of each plugin differs in a sentence.

    What is known to be another at each import is compared no more.

    Raises:
        PluginError: there are other plugins.
    """
    known = {(p.info.kind, p.info.name): p for p in first.plugins}
    if list(known) != [(p.info.kind, p.info.name) for p in second.plugins]:
        raise PluginError("it registers other plugins each time it is imported")
    marked = []
    for plugin in second.plugins:
        before = known[plugin.info.kind, plugin.info.name]
        changing = before.changing or ("" if before.told == plugin.told else _difference(before, plugin))
        marked.append(plugin.model_copy(update={"changing": changing}) if changing else plugin)
    return second.model_copy(update={"plugins": marked})


def _difference(first: Described, second: Described) -> str:
    """What of a plugin is another at each import."""
    for name, value in first.info.parameters.items():
        other = second.info.parameters.get(name)
        if value != other:
            return (
                f"its parameter {name!r} has another default each time it is imported ({value!r}, "
                f"{other!r}), so that its results could not be told apart"
            )
    others = {**vars(second.info), **dict(second.facts)}
    for name, value in {**vars(first.info), **dict(first.facts)}.items():
        other = others[name]
        if value != other:
            return f"its {name} is another each time it is imported ({value!r}, {other!r})"
    return "it is another each time it is imported"


def _known(source: PluginSource) -> Description | None:
    try:
        return Description.model_validate(recall(source))
    except ValidationError:
        return None


def _described_by(process: StrangerProcess) -> Description:
    try:
        return Description.model_validate(process.description())
    except ValidationError as error:
        raise PluginError(f"its process sent no description: {error.errors()[0]['msg']}") from error


class Strangers:
    """All strangers' plugins of one command."""

    def __init__(self, sources: Sequence[PluginSource]) -> None:
        self._all = [Stranger(source) for source in sources]
        self._of: dict[tuple[Kind, str], Stranger] = {}
        self._families: dict[str, Stranger] = {}
        atexit.register(self.close)

    def register(self, registry: Registry) -> None:
        """Enter what they describe."""
        for stranger in self._all:
            source = stranger.source
            for described in stranger.description.plugins:
                info = _info(described.info)
                if described.changing:
                    info = replace(info, status="error", error=printable(described.changing))
                if info.status == "error" or info.kind == "plugin":
                    registry.infos.append(info)
                    continue
                if registry.enter(info.kind, stranger.stand_in(info, described), info):
                    self._of[info.kind, info.name] = stranger
                    if described.facts.family:
                        self._families[info.name] = stranger
            if stranger.error is not None:
                registry.fail(source.name, source.origin, source.version, stranger.error)

    def source_of(self, kind: Kind, name: str) -> PluginSource | None:
        """Where the plugin of that name comes from; None of a shipped one."""
        stranger = self._of.get((kind, name))
        if stranger is None and kind == "model":
            stranger = self._families.get(name.partition("/")[0])
        return None if stranger is None else stranger.source

    def observing(self) -> list[PluginSource]:
        """The sources that observe runs."""
        return [stranger.source for stranger in self._all if stranger.description.observes]

    def close(self) -> None:
        """End all of their processes; one that is asked again is started again."""
        for stranger in self._all:
            stranger.close()


def _info(told: PluginInfo) -> PluginInfo:
    """The same with printable texts."""
    texts: dict[str, Any] = {n: printable(v) for n, v in vars(told).items() if isinstance(v, str)}
    return replace(told, **texts)


class _Elsewhere:
    """What a stand-in does in place of the plugin's own code: it asks the process that has it."""

    _stranger: ClassVar[Stranger]
    _kind: ClassVar[Kind]
    _called: ClassVar[str]

    def __init__(self, **parameters: Any) -> None:
        # Of a family the host gives the architecture as a parameter, and a suite as a part of the name.
        architecture = parameters.pop("architecture", None) if isinstance(self, ModelFamily) else None
        name = self._called if architecture is None else f"{self._called}/{architecture}"
        self._named = {"kind": self._kind, "name": name, "parameters": parameters}
        self._values: dict[str, Any] = self._stranger.ask(_VALUES, "create", **self._named)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value."""
        return dict(self._values)

    def fingerprint(self, folder: Path | None = None) -> str:
        """What the plugin says of the files that it reads."""
        place = None if folder is None else str(folder)
        return self._stranger.ask(_TEXT, "content", **self._named, folder=place)


def stand_in(stranger: Stranger, info: PluginInfo, described: Described) -> type[Plugin]:
    """A class that stands for a stranger's: its facts, and its process for the rest."""
    facts = described.facts
    told = facts.model_fields_set - {"family"}
    namespace = {
        **{name: getattr(facts, name) for name in told},
        "_stranger": stranger,
        "_kind": info.kind,
        "_called": info.name,
        "architectures": classmethod(lambda _: stranger.ask(_NAMES, "architectures", name=info.name)),
        "__doc__": info.summary,
        "__module__": __name__,
    }
    bases = (_Elsewhere, ModelFamily if facts.family else _BASES[info.kind])
    cls = cast("type[Plugin]", type(f"StandIn_{info.name}", bases, namespace))
    digested_elsewhere(cls, described.source, described.libraries)
    return cls
