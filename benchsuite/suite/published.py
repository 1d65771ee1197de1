"""`[[reference]]` of a suite file: a published value that pages show beside what the suite measures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from benchsuite.contracts.plugin import PluginChoice
from benchsuite.contracts.table import Table
from benchsuite.errors import suggestion
from benchsuite.pruning.settings import Budget, Schedule, Scope
from benchsuite.store import metric_names
from benchsuite.suite.amounts import Sparsity
from benchsuite.suite.references import DatasetRef, ModelRef, ScorerRef
from benchsuite.suite.registry_context import registry_of

if TYPE_CHECKING:
    from benchsuite.suite.references import PluginRef

MOST = 1000
"""How many published values a suite has at most."""
GROUPS = (
    *("accuracy", "cost", "sparsity", "latency", "energy", "time", "memory"),
    *("interpretability", "rounds", "scoring", "selection", "surgery", "reported"),
    metric_names.MEASURED.removesuffix("/"),
)
"""What the names of metrics begin with, up to the first stroke."""
_COUNTED = {
    name: [f"{name}/{what}" for what in known]
    for name, known in {
        "accuracy": ("top1", "top1_before_recovery", "top1_recalibrated", "top1_dense", "loss"),
        "cost": (
            *("params", "params_dense", "params_nonzero", "macs", "macs_dense", "macs_nonzero", "flops"),
            *("activation_peak_bytes", "uncounted_modules", "file_bytes", "file_bytes_dense"),
        ),
        "sparsity": ("units", "params", "macs"),
    }.items()
}
"""The metrics of the groups whose names are all known but for top-k accuracies and those of classes."""
_OPEN = re.compile(r"accuracy/(?:top[1-9]\d*(?:_\w+)?|class/.+)")
_SHARES = re.compile(
    r"(?:accuracy/(?!loss)|sparsity/).+|interpretability/(?:still_interpretable|same_concept|detectors_share)(?:_dense)?"
)
_URL = re.compile(r"https?://[^\s\"'<>\\^`{|}]+")
_DENSE = "_dense"
DEFAULTS = "()"
"""What ends the name of a plugin whose parameters are its defaults."""
_OF_PLUGINS = (metric_names.MEASURED, metric_names.REPORTED)
"""Metrics of plugins, which may be fractions; the unit of a reference says so."""


def is_share(metric: str) -> bool:
    """Whether a metric is a fraction between 0 and 1, so that it can be written in percent."""
    return _SHARES.fullmatch(metric) is not None


def _label_of(kind: type[PluginRef]) -> BeforeValidator:
    """A plugin as records name it: a text as it is, or a table of its name and parameters.

    A table of defaults alone is `name()`, since a name alone may stand for any setting.
    """

    def label(value: object, info: ValidationInfo) -> object:
        if not isinstance(value, dict):
            return value
        if registry_of(info) is None:  # written by others, and only compared with names in records
            name, parameters = value.get("name"), {k: v for k, v in value.items() if k != "name"}
            return PluginChoice(name, parameters).label if isinstance(name, str) else value
        ref = kind.model_validate(value, context=info.context)
        return ref.label if ref.parameters or value.keys() == {"name"} else f"{ref.label}{DEFAULTS}"

    return BeforeValidator(label)


_NAMED = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        ]
    }
)
_Label = Annotated[str, Field(min_length=1, max_length=1000), _NAMED]
_Text = Annotated[str, Field(max_length=1000)]


class PublishedValue(Table):
    """`[[reference]]`: a published value, and the cells of the suite that it stands beside.

    It decides no number and is in no content key.
    """

    value: Annotated[float, Field(strict=True)] = Field(description="the value, in the unit below")
    unit: Literal["", "%"] = Field(
        default="", description="%: of a metric that is a fraction; without it the metric's own unit"
    )
    metric: str = Field(max_length=250, description="as in records, such as accuracy/top1")
    source: _Text = Field(min_length=1, description="author, year, table")
    url: Annotated[str, Field(max_length=500)] | None = Field(
        default=None, description="where it is published: http or https"
    )
    note: _Text = Field(default="", description="a sentence that is shown where ours is another")
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="of something that the suite does not run, such as decision tree"
    )
    dataset: Annotated[_Label, _label_of(DatasetRef)] | None = None
    model: Annotated[_Label, _label_of(ModelRef)] | None = None
    scorer: Annotated[_Label, _label_of(ScorerRef)] | None = Field(
        default=None, description="a scorer or a control as records name them: reversed(magnitude-l1)"
    )
    sparsity: Sparsity | None = None
    granularity: Literal["unit", "weight", "unit+weight"] | None = None
    scope: Scope | None = None
    budget: Budget | None = None
    schedule: Schedule | None = None
    recovery_epochs: Annotated[float, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] | None = None

    @field_validator("metric")
    @classmethod
    def _is_measured(cls, metric: str) -> str:
        group, _, what = metric.partition("/")
        known = [each for names in _COUNTED.values() for each in names]
        if not what:
            near = [each for each in known if each.endswith(f"/{metric}")] or known
            raise ValueError(f"no metric is called {metric!r}{suggestion(metric, near)}")
        if group not in GROUPS:
            raise ValueError(
                f"no metric is called {metric!r}: {group!r} is no group{suggestion(group, GROUPS)}"
            )
        if group in _COUNTED and metric not in known and not _OPEN.fullmatch(metric):
            raise ValueError(f"no metric is called {metric!r}{suggestion(metric, _COUNTED[group])}")
        return metric

    @field_validator("url")
    @classmethod
    def _leads_to_the_web(cls, url: str | None) -> str | None:
        if url is not None and not _URL.fullmatch(url):
            raise ValueError(f"an address begins with http:// or https://, not {url[:80]!r}")
        return url

    @model_validator(mode="after")
    def _has_a_unit(self) -> PublishedValue:
        if self.unit == "%" and not (is_share(self.metric) or self.metric.startswith(_OF_PLUGINS)):
            raise ValueError(f'{self.metric} is no fraction: leave out unit = "%" and write its own unit')
        if self.is_share and not 0 <= self.in_our_unit <= 1:
            meant = '; write unit = "%" beside it' if 1 < self.value <= 100 and not self.unit else ""
            raise ValueError(f"{self.metric} is a fraction from 0 to 1, not {self.value:g}{self.unit}{meant}")
        return self

    @model_validator(mode="after")
    def _names_one_thing(self) -> PublishedValue:
        if self.name is not None and self.scorer is not None:
            raise ValueError("name is for what the suite does not run: leave out 'name' or 'scorer'")
        if self.is_dense:
            written = [axis for axis in OF_PRUNING if getattr(self, axis) is not None]
            if written:
                raise ValueError(f"{self.metric} is of the dense network: leave out {', '.join(written)}")
        return self

    @property
    def in_our_unit(self) -> float:
        """The value in the unit that the metric has in records."""
        return self.value / 100 if self.unit == "%" else self.value

    @property
    def is_share(self) -> bool:
        """Whether it is a fraction, which is shown in percent."""
        return self.unit == "%" or is_share(self.metric)

    @property
    def is_dense(self) -> bool:
        """Whether the metric is one of the dense network."""
        return self.metric.endswith(_DENSE)

    @property
    def cell(self) -> dict[str, Any]:
        """The axes that it names, with their values."""
        return {axis: value for axis in AXES if (value := getattr(self, axis)) is not None}

    @property
    def label(self) -> str:
        """What it is of, in words."""
        of = ", ".join(f"{axis} {value}" for axis, value in self.cell.items())
        return f"{self.metric} of {self.name or of} ({self.source})"


OF_PRUNING = ("scorer", "sparsity", "granularity", "scope", "budget", "schedule", "recovery_epochs")
"""Axes of what is pruned; the dense network has none of them."""
AXES = ("dataset", "model", *OF_PRUNING, "seed")
