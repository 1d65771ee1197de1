"""The process in which `check-plugin` tries scorers: `python -P -m benchsuite.commands.checking`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from benchsuite.errors import BenchsuiteError, Unsupported
from benchsuite.registry.raised_at import plugin_line
from benchsuite.registry.stranger_main import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.registry.loading import Host
    from benchsuite.scoring.scorer import Scorer

NOT_CHECKED = "not checked: "
"""How the answer to a check begins that cannot be made for the scorer, or here."""
FIRST = "networks"
"""The check that says whether the scorer scores at all; without it the others tell nothing more."""


def try_out(host: Host, question: Mapping[str, Any]) -> str | None:
    """What a check says is wrong with a scorer, or why it was not made, or None.

    Args:
        host: has the plugin loaded.
        question: "check" and "scorer", by name.
    """
    from benchsuite.testing import CHECKS

    check = question["check"]
    scorer = cast("Scorer", host.registry.create("scorer", question["scorer"], {}))
    try:
        reason = CHECKS[check](scorer)
    except Exception as error:  # noqa: BLE001 - a stranger's scorer may raise anything
        if isinstance(error, Unsupported) and check != FIRST:
            return f"{NOT_CHECKED}its network is not served: {error}"
        # The host's own errors say who raised them.
        raised = "" if isinstance(error, BenchsuiteError) else f"{type(error).__name__}: "
        said = f"{raised}{error}".removeprefix(f"scorer {scorer.name}: ")
        return f"{said}{plugin_line(error)}"
    return None if reason is None else f"{NOT_CHECKED}{reason}"


if __name__ == "__main__":
    main(try_out)
