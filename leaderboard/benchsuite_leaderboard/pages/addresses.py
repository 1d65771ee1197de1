"""File names of pages and addresses of trials, safe for any names of plugins."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from benchsuite.store.keys import is_content_key

if TYPE_CHECKING:
    from benchsuite_leaderboard.board import Workload
    from benchsuite_leaderboard.report import BoardReport, Report


def slug(*names: str) -> str:
    """A readable part of at most 48 plain characters, and a hash that distinguishes different names."""
    plain = unicodedata.normalize("NFKD", "-".join(names)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:48].strip("-")
    digest = hashlib.sha256("\x1f".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{words}-{digest}" if words else digest


def trial_id(key: str) -> str:
    """How `trial.html#…` names a trial: by its content key, or by a hash of a key of another form."""
    if is_content_key(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def board_address(report: Report, board: BoardReport, kind: str = "index") -> str:
    """The page of one board: the first has the page of the kind itself, such as `index.html`."""
    if board is report.boards[0]:
        return f"{kind}.html"
    return f"boards/{kind}-{board.board.protocol.digest}.html"


def workload_address(report: Report, pair: Workload, board: BoardReport | None = None) -> str:
    """The page of a workload on one board; without one, or if it is not on that, on the first that has it."""
    having = [each for each in report.boards if pair in each.board.workloads]
    if board is None or board not in having or board is having[0]:
        return f"workloads/{slug(*pair)}.html"
    return f"workloads/{slug(*pair)}-{board.board.protocol.digest}.html"
