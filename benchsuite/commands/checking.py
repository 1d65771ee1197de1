"""The process in which `check-plugin` tries scorers: `python -P -m benchsuite.commands.checking`."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchsuite.registry.stranger_main import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.registry.loading import Host
    from benchsuite.scoring.scorer import Scorer

SKIPPED = "skipped: "
"""How the answer to a check begins that cannot be made here."""


def try_out(host: Host, question: Mapping[str, Any]) -> str | None:
    """What a check says is wrong with a scorer, or None.

    Args:
        host: has the plugin loaded.
        question: "check" and "scorer", by name.
    """
    import torch

    from benchsuite.testing import CHECKS

    check = question["check"]
    if check == "gpu" and not torch.cuda.is_available():
        return f"{SKIPPED}there is no GPU here"
    scorer = cast("Scorer", host.registry.create("scorer", question["scorer"], {}))
    try:
        CHECKS[check](scorer)
    except Exception as error:  # noqa: BLE001 - a stranger's scorer may raise anything
        own = Path(question["file"]).resolve()
        return f"{type(error).__name__}: {error}{_line(error, own)}"
    return None


def _line(error: BaseException | None, file: Path) -> str:
    """Where in the plugin's own file an error arose, if it did."""
    while error is not None:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == file]
        if lines:
            return f" ({file.name}:{lines[-1]})"
        error = error.__cause__
    return ""


if __name__ == "__main__":
    main(try_out)
