"""The site as a folder of files that needs no server and no network."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from benchsuite_leaderboard.downloads import as_csv, as_json
from benchsuite_leaderboard.pages.environment import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchsuite.store import TrialRecord

_DIGEST = re.compile(rb'<meta name="benchsuite-inputs" content="([0-9a-f]{64})">')


def render(
    records: Sequence[TrialRecord], output: Path, *, title: str, pending: int = 0, notes: Sequence[str] = ()
) -> Path:
    """Write the site and return the path of its first page.

    Nothing is done when the first page says that it was made from the same inputs by the same version.

    Args:
        records: outcomes; of several with one key the last counts.
        output: the folder to write into; made where it does not exist.
        title: name of the suite or of the collection.
        pending: number of planned trials that have no record.
        notes: sentences that the reader must know, such as unreadable lines of the store.
    """
    index = output / "index.html"
    digest = _digest(records, title, pending, notes)
    if _made_from(index) == digest:
        return index
    # Only a site that must be written pays for loading the libraries.
    from benchsuite_leaderboard.pages.overview import overview
    from benchsuite_leaderboard.report import make_report

    report = make_report(records, title=title, pending=pending, notes=notes)
    output.mkdir(parents=True, exist_ok=True)
    _write(output / "results.csv", as_csv(records))
    _write(output / "results.json", as_json(records))
    # The first page is written last: with its digest it vouches for the others.
    _write(index, overview(report, digest=digest))
    return index


def _digest(records: Sequence[TrialRecord], title: str, pending: int, notes: Sequence[str]) -> str:
    """Identify everything that the site is made from, this package included."""
    found = hashlib.sha256()
    for part in (title, str(pending), *notes, as_json(records)):
        found.update(part.encode("utf-8", "surrogatepass") + b"\x00")
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in {".py", ".j2", ".css", ".js"}:
            found.update(path.read_bytes())
    return found.hexdigest()


def _made_from(index: Path) -> str | None:
    try:
        with index.open("rb") as file:
            match = _DIGEST.search(file.read(4096))
    except OSError:
        return None
    return match[1].decode() if match else None


def _write(path: Path, text: str) -> None:
    """Replace a file at once, so that a reader never sees half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    partial.replace(path)
