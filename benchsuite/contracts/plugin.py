"""Plugins with typed parameters: annotated class attributes with a default, settable from a suite file."""

from __future__ import annotations

import inspect
import json
import re
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from benchsuite.errors import DataError, UsageError, suggestion
from benchsuite.store.keys import plain

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["scorer", "model", "dataset", "concepts", "metric"]


class Plugin:
    """Base of scorers, models and data sets.

    A parameter is an annotated class attribute with a default, `bins: int = 32`. Instances are made with
    keyword arguments that are validated against the annotations; anything else is refused.
    `ClassVar` attributes are facts about the plugin and no parameters.
    """

    name: ClassVar[str] = ""
    """What suite files call the plugin: lower-case words joined by hyphens."""
    version: ClassVar[str] = "1"
    """Raise it when results change for a reason that the plugin's source does not show."""
    _planned_by: ClassVar[tuple[str, ...]] = ("version",)
    """The class variables that a plan is made from."""

    def __init__(self, **parameters: Any) -> None:
        for name, value in validated_parameters(type(self), parameters).items():
            setattr(self, name, value)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value, in the order of definition."""
        return {name: getattr(self, name) for name in parameter_model(type(self)).model_fields}

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({listed})"


@dataclass(frozen=True)
class PluginChoice:
    """A plugin by its name, with the parameters that a suite sets and that are no defaults.

    Attributes:
        written: the parameters as the suite sets them, defaults too: a default may be another in another
            process, what is written is not. None where they are `parameters`.
        source: digest of its source when the plan was made; empty where nobody looked.
        content: what `content_of` said then of the files that it reads.
        planned: what `planned_facts` said then; None where nobody asked.
        swept: whether it is one of several settings that a suite lists of a parameter.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Any] | None = field(default=None, compare=False)
    source: str = field(default="", compare=False)
    content: str = field(default="", compare=False)
    planned: dict[str, Any] | None = field(default=None, compare=False)
    swept: bool = field(default=False, compare=False)

    @property
    def all_parameters(self) -> dict[str, Any]:
        """Every parameter with its value as it was when the plan was made, defaults too."""
        found = ((*name.partition(_PARAMETER), value) for name, value in (self.planned or {}).items())
        return {name: value for before, sign, name, value in found if sign and not before}

    def create(self, kind: Kind, plugins: Plugins) -> Plugin:
        """An instance of the plugin; raises `UsageError`."""
        return plugins.create(kind, self.name, self.parameters if self.written is None else self.written)

    @property
    def label(self) -> str:
        """How records and pages name it: the name, with the parameters that are no defaults."""
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(f'{k}={_shown(v)}' for k, v in sorted(self.parameters.items()))})"


_PLAIN = re.compile(r"[^\s,=()\[\]{}'\"][^,=()\[\]{}'\"]*(?<!\s)")
"""Texts that are shown without quotes, since nothing else is shown so."""


def _shown(value: object) -> str:
    """A parameter's value in a label, from which it can be told from every other value."""
    if not isinstance(value, str):
        return str(value)
    others = ("True", "False", "None")
    try:
        float(value)
    except ValueError:
        return (
            value
            if _PLAIN.fullmatch(value) and value not in others
            else json.dumps(value, ensure_ascii=False)
        )
    return json.dumps(value)


_PARAMETER = "parameter "


def planned_facts(plugin: Plugin) -> dict[str, Any]:
    """By name, what a plan is made from beside a plugin's source: class variables and parameters, as JSON."""
    cls = type(plugin)
    facts = {name: getattr(cls, name) for name in cls._planned_by}
    parameters = {f"{_PARAMETER}{name}": value for name, value in plugin.parameters.items()}
    found: dict[str, Any] = json.loads(json.dumps({**facts, **parameters}, default=plain))
    return found


ABSENT = "absent"
"""What stands for the content of files that are not there."""


def content_of(fingerprint: Callable[[], str]) -> str:
    """What a plugin's `fingerprint` says of the files that it reads.

    It is "absent" where data are absent or cannot be read. What is wrong with the method itself is a text
    that begins with "fingerprint()".
    """
    try:
        found: object = fingerprint()
    except DataError:
        return ABSENT
    except Exception as error:  # noqa: BLE001 - a stranger's method may raise anything
        return f"fingerprint() raised {type(error).__name__}: {error}"
    return found if isinstance(found, str) else f"fingerprint() returned {type(found).__name__}, no text"


class Plugins(Protocol):
    """What makes plugins by kind and name: the registry."""

    def create(self, kind: Kind, name: str, parameters: dict[str, Any], /) -> Plugin:
        """Return an instance with validated parameters; raises `UsageError`."""
        ...


def parameter_model(cls: type[Plugin]) -> type[BaseModel]:
    """The pydantic model of a plugin class's parameters; raises `TypeError` for one without a default."""
    model = _MODELS.get(cls)
    if model is None:
        config = ConfigDict(extra="forbid", validate_default=True)
        model = create_model(f"{cls.__name__}Parameters", __config__=config, **_fields(cls))
        _MODELS[cls] = model
    return model


_MODELS: WeakKeyDictionary[type[Plugin], type[BaseModel]] = WeakKeyDictionary()


def canonical_parameters(
    plugins: Plugins, kind: Kind, name: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Of the parameters that are set, those that are no defaults, as they are in JSON.

    Names and seeds are made of these, so that two ways to write one plugin are one: a default written out or
    left out, 3 or 3.0 where a number is a float. Where a plugin makes something else of what is left, nothing
    is changed.

    Raises:
        UsageError: a parameter is wrong.
    """
    chosen = _in_json(plugins.create(kind, name, parameters).parameters)
    if not parameters:
        return {}
    try:
        defaults = _in_json(plugins.create(kind, name, {}).parameters)
    except UsageError:  # it cannot be made without them
        defaults = {}
    # As texts, since 1 == True and 0.0 == -0.0.
    found = {
        k: chosen[k]
        for k in parameters
        if k in chosen and (k not in defaults or _text(chosen[k]) != _text(defaults[k]))
    }
    same = _text(_in_json(plugins.create(kind, name, found).parameters)) == _text(chosen)
    return found if same else dict(parameters)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _in_json(value: object) -> Any:
    return json.loads(json.dumps(value, default=plain))


def _fields(cls: type[Plugin]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for klass in reversed(cls.__mro__):
        own = inspect.get_annotations(klass)
        hints = typing.get_type_hints(klass, include_extras=True) if own else {}
        for name in own:
            hint = hints[name]
            if name.startswith("_") or hint is ClassVar or typing.get_origin(hint) is ClassVar:
                continue
            if not hasattr(cls, name):
                raise TypeError(f"parameter {name!r} of {cls.__name__} has no default")
            fields[name] = (hint, getattr(cls, name))
    return fields


def validated_parameters(cls: type[Plugin], parameters: dict[str, Any]) -> dict[str, Any]:
    """Every parameter of `cls` with its validated value; raises `UsageError` naming each wrong one."""
    try:
        model = parameter_model(cls)(**parameters)
    except ValidationError as error:
        known = list(parameter_model(cls).model_fields)
        wrong = "; ".join(
            _complaint(e["type"], e["msg"], e["loc"], e["input"], known) for e in error.errors()
        )
        raise UsageError(f"{cls.name}: {wrong}") from error
    values = {name: getattr(model, name) for name in type(model).model_fields}
    for name, value in parameters.items():
        if _is_changed(value, values[name]):
            raise UsageError(f"{cls.name}: {name}: {value!r} is of another type than {values[name]!r}")
    return values


def _is_changed(given: object, value: object) -> bool:
    """Whether a text or a truth value was taken for a number, or the other way round, also in a list."""
    if isinstance(given, list | tuple) and isinstance(value, list | tuple) and len(given) == len(value):
        return any(map(_is_changed, given, value))
    kinds = [
        bool if isinstance(each, bool) else str if isinstance(each, str) else float for each in (given, value)
    ]
    return (
        isinstance(given, int | float | str) and isinstance(value, int | float | str) and kinds[0] != kinds[1]
    )


def _complaint(kind: str, text: str, where: tuple[int | str, ...], value: object, known: list[str]) -> str:
    name = ".".join(map(str, where))
    if kind == "extra_forbidden":
        return f"there is no parameter {name!r}" + (suggestion(name, known) or "; it takes none")
    return f"{name}: {text[:1].lower()}{text[1:]} (got {value!r})"
