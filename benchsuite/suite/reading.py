"""Reading a suite file: every error with its line and the nearest valid name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from benchsuite.errors import UsageError, suggestion
from benchsuite.suite.missing import HINT, missing_plugins
from benchsuite.suite.suite import Suite
from benchsuite.suite.toml_source import TomlSource, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchsuite.registry.registry import Registry


def load_suite(path: Path, registry: Registry) -> Suite:
    """Read and validate a suite file; raises `UsageError` that lists every error with its line."""
    source = read_toml(path)
    try:
        return Suite.model_validate(source.data, context={"registry": registry})
    except ValidationError as error:
        lines = [*_messages(error, source)]
        if missing_plugins(source.data, registry):
            lines.append(HINT)
        raise UsageError("\n".join(lines)) from error


def _messages(error: ValidationError, source: TomlSource) -> Iterator[str]:
    seen = set[str]()
    found = []
    for item in error.errors():
        where = [part for part in item["loc"] if part != "parameters"]
        message = _message(item["type"], item["msg"], where, item["input"], item.get("ctx", {}))
        value = None if item["type"] == "extra_forbidden" else item["input"]
        if isinstance(value, dict):
            value = value.get("name")
        found.append((source.line_of(where, value), f"{_dotted(where)}: {message}"))
    for line, text in sorted(found):
        if text not in seen:
            seen.add(text)
            yield f"{source.path}:{line}: {text}"


def _message(kind: str, text: str, where: list[str | int], value: object, context: dict[str, Any]) -> str:
    if kind == "extra_forbidden":
        return f"unknown key{suggestion(str(where[-1]), _fields_at(where[:-1]))}"
    if kind == "missing":
        return "is required"
    if kind == "literal_error":
        known = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        return f"{value!r} is not one of {', '.join(known)}{_near(value, known)}"
    if kind == "list_type" and where in (["workload"], ["reference"]):
        return f"there can be several, so write [[{where[0]}]] instead of [{where[0]}]"
    if kind == "too_short":
        return "must not be empty"
    text = text.removeprefix("Value error, ")
    got = "" if kind == "value_error" else f" (got {value!r})"
    return f"{text[:1].lower()}{text[1:]}{got}"


def _near(value: object, known: list[str]) -> str:
    return suggestion(value, known) if isinstance(value, str) and len(known) > 1 else ""


def _fields_at(where: list[str | int]) -> list[str]:
    model: Any = Suite
    for part in where:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = next(iter(_models_in(annotation)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _dotted(where: list[str | int]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "suite file"
