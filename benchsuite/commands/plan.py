"""`plan`, `validate` and `schema`: what a suite file says, without running it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchsuite.cli import NOTHING, OK
from benchsuite.commands.loading import broken_plugins, discover_checked, load
from benchsuite.plan import count_by_axis
from benchsuite.progress import duration
from benchsuite.run import agenda
from benchsuite.suite import Suite, load_suite

if TYPE_CHECKING:
    from argparse import Namespace

    from benchsuite.plugins import Registry
    from benchsuite.store import TrialRecord
    from benchsuite.tasks import Trial


def plan(options: Namespace) -> int:
    """Show the matrix by axis, what is cached, failed and to run, and how long it may take."""
    loaded = load(options)
    records, problems = loaded.directory.records()
    work = agenda(loaded.selected, records, retry_failed=options.retry_failed)
    console = Console(highlight=False)
    for line in [*broken_plugins(loaded.registry), *problems]:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    table = Table(
        box=None,
        padding=(0, 2),
        title=f"{loaded.suite.name}: {len(loaded.selected)} trials",
        title_justify="left",
    )
    table.add_column("axis")
    table.add_column("values", justify="right")
    table.add_column("trials of each")
    for axis, counts in count_by_axis(loaded.selected).items():
        listed = ", ".join(f"{value} ({count})" for value, count in list(counts.items())[:12])
        table.add_row(axis, str(len(counts)), listed + (" …" if len(counts) > 12 else ""))
    console.print(table)
    failed = sum(records[t.key].status in ("failed", "timeout", "killed") for t in work.cached)
    console.print(
        f"\ncached {len(work.cached) - failed}   failed {failed}   to run {len(work.to_run)}   "
        f"latency to measure {len(work.to_time)}"
    )
    console.print(f"dense models to train: {len({t.dense.key for t in work.to_run})}")
    console.print(f"time estimate: {_estimate(work.to_run, records)}")
    return OK if loaded.selected else NOTHING


def _estimate(to_run: tuple[Trial, ...], records: dict[str, TrialRecord]) -> str:
    """From the past durations of the same model and data set, else of any; seconds of one worker."""
    if not to_run:
        return "nothing to run"
    past: dict[tuple[object, object] | None, list[float]] = {}
    for record in records.values():
        if (seconds := record.metrics.get("time/trial_s")) is not None:
            past.setdefault((record.axes.get("model"), record.axes.get("dataset")), []).append(seconds)
            past.setdefault(None, []).append(seconds)
    if not past:
        return "unknown, no trial of this run directory has been timed yet"
    total = 0.0
    for trial in to_run:
        known = past.get((trial.axes["model"], trial.axes["dataset"])) or past[None]
        total += sum(known) / len(known)
    return f"about {duration(total)} of one worker's time, dense training and latency not counted"


def validate(options: Namespace) -> int:
    """Say that a suite file is right; every error is raised with its line."""
    registry, _ = discover_checked(options.plugin)
    suite = load_suite(options.suite, registry)
    console = Console(highlight=False)
    for line in broken_plugins(registry):
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    console.print(f"{options.suite}: the suite {suite.name!r} is valid", markup=False, soft_wrap=True)
    return OK


def schema(options: Namespace) -> int:
    """Print the JSON Schema of suite files with the names that are registered here."""
    registry, _ = discover_checked(options.plugin)
    print(json.dumps(suite_schema(registry), indent=2))  # noqa: T201 - the command line speaks
    return OK


def suite_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of suite files: plugins by name or as tables, and their parameters."""
    result = Suite.model_json_schema(mode="validation")
    definitions = result["$defs"]
    for kind, name in (
        ("scorer", "ScorerRef"),
        ("model", "ModelRef"),
        ("dataset", "DatasetRef"),
        ("concepts", "ConceptsRef"),
    ):
        if name in definitions:
            definitions[name] = _reference_schema(registry, kind, definitions[name])
    if "Control" in definitions:
        control = definitions["Control"]
        definitions["Control"] = {"anyOf": [{"enum": control["properties"]["name"]["enum"]}, control]}
    _accept_single_values(result)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result}


def _reference_schema(registry: Registry, kind: Any, definition: dict[str, Any]) -> dict[str, Any]:
    names: list[dict[str, Any]] = [{"enum": [*registry.names(kind), *(["all"] if kind == "scorer" else [])]}]
    if kind == "model":
        names.append({"type": "string", "pattern": "^[a-z0-9-]+/.+"})
    table = {
        **definition,
        "properties": {**definition["properties"], "name": {"anyOf": names}},
        "additionalProperties": True,
    }
    table["properties"].pop("parameters", None)
    return {"anyOf": [*names, table]}


def _accept_single_values(node: Any) -> None:
    """An axis takes a value where its list is meant: say so wherever an array schema stands for an axis."""
    if isinstance(node, dict):
        for key, value in list(node.items()):
            _accept_single_values(value)
            if key == "properties":
                for name, entry in value.items():
                    if (
                        isinstance(entry, dict)
                        and entry.get("type") == "array"
                        and entry.get("minItems") == 1
                        and name != "workload"
                    ):
                        value[name] = {"anyOf": [entry, entry["items"]]}
    elif isinstance(node, list):
        for item in node:
            _accept_single_values(item)
