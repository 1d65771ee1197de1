"""Whether a site is as new as its records: a script that every page loads shows a notice if it is not."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchsuite.store.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

STATE = "assets/state.js"
FRESH = b'"use strict";\n// These pages are as new as the records they were made from.\n'
REWRITING = (
    "These pages were being written anew. If this notice stays, that was interrupted, and some are old: "
    "write the site again."
)

_NOTICE = """"use strict";
// Written when these pages became older than the results.
addEventListener("DOMContentLoaded", () => {
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  notice.textContent = WORDS;
  document.querySelector("header.page").append(notice);
});
"""


def mark_stale(output: Path, reason: str) -> None:
    """Let every page of a site say why it may be out of date; does nothing where there is no site.

    Rendering the site again takes the notice away.
    """
    if (output / "index.html").is_file():
        (output / STATE).parent.mkdir(exist_ok=True)
        write_atomically(output / STATE, _NOTICE.replace("WORDS", json.dumps(reason)).encode())


def mark_fresh(output: Path) -> None:
    """Take the notice away."""
    if (output / STATE).is_file() and (output / STATE).read_bytes() != FRESH:
        write_atomically(output / STATE, FRESH)


def now() -> str:
    """The time in words; `SOURCE_DATE_EPOCH` sets it, for those who want equal files from equal inputs."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(given), UTC) if given.isdecimal() else datetime.now(UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"
