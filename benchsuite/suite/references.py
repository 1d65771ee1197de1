"""How a suite file names plugins: by name, or by a table of name and parameters."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from benchsuite.contracts.plugin import Kind, Plugin, PluginChoice, Plugins, canonical_parameters
from benchsuite.contracts.table import Table
from benchsuite.errors import UsageError
from benchsuite.registry.registry import NAME
from benchsuite.suite.registry_context import registry_of


class PluginRef(Table):
    """A plugin by name, or a table of its name and parameters."""

    kind: ClassVar[Kind]
    name: str
    parameters: dict[str, Any] = Field(default={})
    _written: dict[str, Any] | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _from_name_or_table(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and set(value) - {"name", "parameters"}:
            own = {k for k in cls.model_fields if k not in ("name", "parameters")}
            rest = {k: v for k, v in value.items() if k not in own | {"name", "parameters"}}
            kept = {k: v for k, v in value.items() if k in own | {"name"}}
            listed = value.get("parameters", {})
            if not isinstance(listed, dict):
                raise ValueError(f"parameters is a table of names and values, not {listed!r}")
            return {**kept, "parameters": {**listed, **rest}}
        if not isinstance(value, dict):
            raise ValueError(f"a {cls.kind} is a name or a table with a name, not {value!r}")
        return value

    @model_validator(mode="after")
    def _exists(self, info: ValidationInfo) -> PluginRef:
        registry = registry_of(info)
        if registry is not None and not self._is_wildcard():
            try:
                found = canonical_parameters(registry, self.kind, self.name, self.parameters)
                json.dumps(self.parameters, allow_nan=False)
                self._written = self.parameters
                object.__setattr__(self, "parameters", found)  # the table is frozen once it is read
            except UsageError as error:
                raise ValueError(f"{error}{self._meant()}") from error
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{self.name}: parameters are finite numbers, texts, true or false, and lists and tables "
                    f"of these, since records hold them as JSON ({error})"
                ) from error
        return self

    def _is_wildcard(self) -> bool:
        return False

    def _meant(self) -> str:
        """Which key of the table itself a parameter may have been meant for."""
        own = [key for key in type(self).model_fields if key != "parameters"]
        near = [n for key in self.parameters for n in difflib.get_close_matches(key, own, n=1, cutoff=0.8)]
        return f"; did you mean {near[0]!r}, which is a key of the suite?" if near else ""

    @model_serializer(mode="wrap")
    def _as_table(self, _handler: SerializerFunctionWrapHandler) -> object:
        own = {k: getattr(self, k) for k in type(self).model_fields if k not in ("name", "parameters")}
        extra = {k: v for k, v in own.items() if v is not None}
        listed = self._listed_parameters()
        return {"name": self.name, **extra, **listed} if listed or extra else self.name

    def _listed_parameters(self) -> dict[str, Any]:
        """The parameters as a suite file has them."""
        return self.parameters

    @property
    def choice(self) -> PluginChoice:
        """The plugin's name and parameters."""
        return PluginChoice(self.name, self.parameters, self._written)

    def create(self, plugins: Plugins) -> Plugin:
        """An instance of the plugin."""
        return self.choice.create(self.kind, plugins)

    @property
    def identity(self) -> str:
        """What two references to the same plugin with the same parameters have in common, and no others."""
        return json.dumps([self.name, self.parameters], sort_keys=True)

    @property
    def label(self) -> str:
        """Its name in records and pages: the plugin's name, with the parameters that a suite sets."""
        return self.choice.label


class ScorerRef(PluginRef):
    """A scorer; "all" stands for every registered one."""

    kind: ClassVar[Kind] = "scorer"
    draws: Annotated[int, Field(ge=1)] | None = None
    _swept: bool = PrivateAttr(default=False)

    def _is_wildcard(self) -> bool:
        return self.name == "all"

    def as_swept(self) -> ScorerRef:
        """The same as one of several settings of a parameter, so that records say the value of each.

        A record has only the parameters that are no defaults, and a default may be another later.
        """
        self._swept = True
        return self

    def _listed_parameters(self) -> dict[str, Any]:
        if not self._swept:
            return self.parameters
        written = self.parameters if self._written is None else self._written
        return {"sweep": {name: [value] for name, value in written.items()}}

    @property
    def choice(self) -> PluginChoice:
        """The plugin's name and parameters."""
        return replace(super().choice, swept=self._swept)


class ModelRef(PluginRef):
    """A model."""

    kind: ClassVar[Kind] = "model"


class MetricRef(PluginRef):
    """A metric plugin."""

    kind: ClassVar[Kind] = "metric"
    called: Annotated[str, Field(pattern=NAME, max_length=60)] | None = Field(
        default=None,
        description="its name in records; default: the plugin's; needed where one is named twice",
    )

    @property
    def name_in_records(self) -> str:
        """What records call it."""
        return self.called or self.name


class DatasetRef(PluginRef):
    """A data set."""

    kind: ClassVar[Kind] = "dataset"
