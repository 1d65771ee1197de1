"""Names in a suite that no plugin has: those of plugin files that were not given, or misspelt ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from benchsuite.contracts.plugin import Kind
    from benchsuite.registry.registry import Registry

HINT = "what a plugin file registers is known with --plugin FILE"


def missing_plugins(suite: Mapping[str, Any], registry: Registry) -> list[tuple[Kind, str]]:
    """Kinds and names of the plugins that a suite names and that are not listed, not even as broken.

    Args:
        suite: the content of a suite file, which need not be a valid one.
        registry: the plugins that are known.
    """
    listed = {(info.kind, info.name) for info in registry.infos}
    broken = {info.name for info in registry.infos if info.status == "error"}
    named = dict.fromkeys(_named(suite))
    return [(k, n) for k, n in named if (k, _family(k, n)) not in listed and n not in broken]


def told(missing: Iterable[tuple[Kind, str]]) -> str:
    """The plugins in words: scorer mine, models net, other."""
    names: dict[Kind, list[str]] = {}
    for kind, name in missing:
        names.setdefault(kind, []).append(name[:80])
    return ", ".join(
        f"{kind}{'s' if len(found) > 1 else ''} {', '.join(found)}" for kind, found in names.items()
    )


def _named(suite: Mapping[str, Any]) -> Iterator[tuple[Kind, str]]:
    section = _table(suite.get("suite"))
    references = [*_list(section.get("scorers"))]
    for control in _list(section.get("controls")):
        references += _list(_table(control).get("of"))
    for table in _list(_table(suite.get("pruning")).get("layers")):
        references.append(_table(table).get("scorer"))
    yield from (("scorer", name) for name in _names(references) if name != "all")
    for workload in _list(suite.get("workload")):
        yield from (("dataset", name) for name in _names([_table(workload).get("dataset")]))
        yield from (("model", name) for name in _names(_list(_table(workload).get("models"))))
    metrics = _list(_table(suite.get("metrics")).get("plugins"))
    yield from (("metric", name) for name in _names(metrics))
    dissection = _table(_table(suite.get("metrics")).get("dissection"))
    yield from (("concepts", name) for name in _names([dissection.get("concepts")]))


def _family(kind: Kind, name: str) -> str:
    return name.partition("/")[0] if kind == "model" else name


def _names(references: Iterable[object]) -> Iterator[str]:
    for reference in references:
        name = reference.get("name") if isinstance(reference, dict) else reference
        if isinstance(name, str):
            yield name


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
