"""What stands in this process for plugins of strangers, whose code runs in processes of their own."""

from __future__ import annotations

import atexit
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchsuite.contracts.concepts import ConceptPlugin
from benchsuite.contracts.dataset import DatasetPlugin
from benchsuite.contracts.digests import digested_elsewhere
from benchsuite.contracts.model import ModelFamily, ModelPlugin
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.errors import PluginError
from benchsuite.registry.memory import recall, remember
from benchsuite.registry.registry import NAME, PluginInfo, Registry
from benchsuite.registry.stranger_process import StrangerProcess
from benchsuite.scoring.scorer import Scorer
from benchsuite.store.keys import plain
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchsuite.contracts.plugin import Kind, Plugin
    from benchsuite.registry.loading import PluginSource

_BASES: dict[str, type[Plugin]] = {
    "scorer": Scorer,
    "model": ModelPlugin,
    "dataset": DatasetPlugin,
    "concepts": ConceptPlugin,
}


_MOST_DEATHS = 5
"""After so many deaths of a plugin's process it is asked nothing more."""


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


class Described(BaseModel):
    """One plugin as its process describes it.

    Attributes:
        info: its line of `benchsuite plugins`.
        facts: what a plan has to know of it; of one that is broken, nothing.
        source: see `source_digest`.
        libraries: see `source_libraries`.
    """

    model_config = ConfigDict(extra="forbid")

    info: PluginInfo
    facts: Facts = Field(default_factory=Facts)
    source: str = ""
    libraries: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.info.status == "ok" and (self.info.kind not in _BASES or self.facts.name != self.info.name):
            raise ValueError(f"{self.info.kind} {self.info.name[:80]!r} is described as {self.facts.name!r}")
        return self


class Description(BaseModel):
    """What a process says of the plugins that it has loaded.

    Attributes:
        plugins: every one, broken ones included.
        observes: the hooks by which they watch runs.
    """

    model_config = ConfigDict(extra="forbid")

    plugins: list[Described]
    observes: list[str] = Field(default_factory=list)


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

    @property
    def description(self) -> Description:
        """Its plugins; none of one whose process died, which `error` tells."""
        if self._description is None:
            assert self._process is not None
            try:
                self._description = _described_by(self._process)
            except PluginError as error:
                self.error = str(error)
                self._description = Description(plugins=[])
            else:
                remember(self.source, self._description.model_dump(mode="json", exclude_unset=True))
        return self._description

    def ask(self, ask: str, **question: Any) -> Any:
        """Its answer; its process is started where only its memory has been used so far, or where it died.

        A question that it died of is not asked again.
        """
        described = self.description
        if self._process is None:
            self._process = StrangerProcess(self.source)
            now = _described_by(self._process)
            if now != described:
                self._correct(described, now)
        what = json.dumps([ask, question], sort_keys=True, default=plain)
        if what in self._fatal or len(self._fatal) >= _MOST_DEATHS:
            raise PluginError(self._fatal.get(what) or next(iter(self._fatal.values())))
        try:
            return self._process.ask({"ask": ask, **question})
        except PluginError as error:
            if not self._process.is_over:
                raise
            self._process = None
            self._fatal[what] = f"{self.source.origin}: {error}"
            raise PluginError(self._fatal[what]) from error

    def stand_in(self, info: PluginInfo, described: Described) -> type[Plugin]:
        """The class that stands for one of its plugins."""
        cls = self._stand_ins[info.kind, info.name] = stand_in(self, info, described)
        return cls

    def _correct(self, remembered: Description, now: Description) -> None:
        """Take over what its process says now: it may import what the digest of its memory does not see."""
        remember(self.source, now.model_dump(mode="json", exclude_unset=True))
        self._description = now
        if [(p.info, p.facts) for p in now.plugins] != [(p.info, p.facts) for p in remembered.plugins]:
            raise PluginError(f"{self.source.origin} says something else of its plugins now; run again")
        for plugin in now.plugins:
            cls = self._stand_ins.get((plugin.info.kind, plugin.info.name))
            if cls is not None:
                digested_elsewhere(cls, plugin.source, plugin.libraries)

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.close()
            self._process = None


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
        self._values: dict[str, Any] = self._stranger.ask("create", **self._named)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value."""
        return dict(self._values)

    def fingerprint(self, folder: Path | None = None) -> str:
        """What the plugin says of the files that it reads."""
        place = None if folder is None else str(folder)
        return str(self._stranger.ask("content", **self._named, folder=place))


def stand_in(stranger: Stranger, info: PluginInfo, described: Described) -> type[Plugin]:
    """A class that stands for a stranger's: its facts, and its process for the rest."""
    facts = described.facts
    told = facts.model_fields_set - {"family"}
    namespace = {
        **{name: getattr(facts, name) for name in told},
        "_stranger": stranger,
        "_kind": info.kind,
        "_called": info.name,
        "architectures": classmethod(lambda _: stranger.ask("architectures", name=info.name)),
        "__doc__": info.summary,
        "__module__": __name__,
    }
    bases = (_Elsewhere, ModelFamily if facts.family else _BASES[info.kind])
    cls = cast("type[Plugin]", type(f"StandIn_{info.name}", bases, namespace))
    digested_elsewhere(cls, described.source, described.libraries)
    return cls
