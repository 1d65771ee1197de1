"""Where `check-plugin` tries scorers and metrics: `python -P -m benchsuite.commands.checking`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite.errors import BenchsuiteError, Unsupported
from benchsuite.registry.raised_at import plugin_line
from benchsuite.registry.stranger_main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchsuite.registry.loading import Host

NOT_CHECKED = "not checked: "
"""How the answer to a check begins that cannot be made for the scorer, or here."""
FIRST = "networks"
"""The check that says whether the plugin works at all; without it the others tell nothing more."""


def checks_of(kind: str) -> dict[str, Callable[[Any], str | None]]:
    """The checks for plugins of a kind, by name; none for kinds that have none."""
    from benchsuite.testing import CHECKS, METRIC_CHECKS  # imports torch

    known: dict[str, dict[str, Callable[[Any], str | None]]] = {"scorer": CHECKS, "metric": METRIC_CHECKS}
    return known.get(kind, {})


def try_out(host: Host, question: Mapping[str, Any]) -> str | None:
    """What a check says is wrong with a plugin, or why it was not made, or None.

    Args:
        host: has the plugin loaded.
        question: "check", and the plugin's "kind" and "name".
    """
    check, kind = question["check"], question["kind"]
    plugin = host.registry.create(kind, question["name"], {})
    try:
        reason = checks_of(kind)[check](plugin)
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
        if isinstance(error, Unsupported) and check != FIRST:
            return f"{NOT_CHECKED}its network is not served: {error}"
        # The host's own errors say who raised them.
        raised = "" if isinstance(error, BenchsuiteError) else f"{type(error).__name__}: "
        said = f"{raised}{error}".removeprefix(f"{kind} {plugin.name}: ")
        return f"{said}{plugin_line(error)}"
    return None if reason is None else f"{NOT_CHECKED}{reason}"


if __name__ == "__main__":
    main(try_out)
