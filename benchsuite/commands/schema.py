"""`schema`: the JSON Schema of suite files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchsuite.commands.arguments import add_plugins
from benchsuite.commands.exit_codes import OK
from benchsuite.commands.loading import discover_checked
from benchsuite.commands.printing import put
from benchsuite.suite import Suite

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from benchsuite.registry.registry import Registry


def add_arguments(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    add_plugins(parser)


def run(options: Namespace) -> int:
    """Print the JSON Schema of suite files with the names that are registered here."""
    registry, _ = discover_checked(options)
    put(json.dumps(suite_schema(registry), indent=2))
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
        ("metric", "MetricRef"),
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
    """An axis also takes a single value instead of a list: add that to the schema of every axis."""
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
