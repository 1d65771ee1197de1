"""Every trial's record as scripts for the page of one trial, which also works from a local file.

A shard is JSON, compressed and written as text into a script: browsers allow a page that was opened from a
local file to load scripts but not data. The first digits of a trial's address decide its shard.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchsuite.store import metric_names
from benchsuite_leaderboard.board import sparsity_order
from benchsuite_leaderboard.pages.addresses import board_address, slug, trial_id, workload_address
from benchsuite_leaderboard.pages.formats import clean, sparsity, workload
from benchsuite_leaderboard.run_folders import (
    PICTURES,
    confusion,
    has_picture,
    layers,
    picture,
    recovery_losses,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchsuite_leaderboard.board import BoardTrial
    from benchsuite_leaderboard.report import BoardReport, Report
    from benchsuite_leaderboard.run_folders import RunFolders

SHARD = 1000
"""Approximate maximum number of trials in one shard."""
PICTURE_BYTES = {"detectors.jpg": 3_000_000, "concepts.png": 1_000_000}
"""Largest total size of all pictures of a kind."""
DETAIL_LETTERS = 12_000_000
"""Most characters of layers, recoveries and counts by class, before compression to about a tenth."""

_CLASS = metric_names.CLASS


@dataclass(frozen=True)
class TrialFiles:
    """The files that the page of one trial loads.

    Attributes:
        digits: how many digits of a trial's address name its shard.
        files: scripts and pictures by their path within the site.
        pictures: bytes of pictures copied.
    """

    digits: int
    files: dict[str, bytes]
    pictures: int

    @property
    def shards(self) -> list[str]:
        """The names of the shards."""
        return [name[len("trials/") : -len(".js")] for name in self.files if name.startswith("trials/")]


def trial_files(report: Report, folders: RunFolders) -> TrialFiles:
    """The shards of a report's trials, with details from run directories up to the limits."""
    digits = 0
    while report.trials > SHARD * 16**digits:
        digits += 1
    trials = [(board, trial) for board in report.boards for trial in board.board.trials]
    files: dict[str, bytes] = {}
    added = _from_folders(trials, folders, files)
    ambiguous = _ambiguous(trials)
    sharded: dict[str, _Shard] = defaultdict(lambda: _Shard(report))
    for board, trial in trials:
        address = trial_id(trial.record.key)
        name = address[:digits] or "all"
        extra = {"alike": alike} if (alike := ambiguous[_cell(trial)]) > 1 else {}
        sharded[name].add(address, board, trial, added.get(address, {}) | extra)
    pictures = sum(map(len, files.values()))
    files |= {f"trials/{name}.js": shard.script() for name, shard in sorted(sharded.items())}
    return TrialFiles(digits, files, pictures)


class _Shard:
    """Rows, with values that many of them share stored once."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._rows: dict[str, dict[str, Any]] = {}
        self._shared: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def add(self, address: str, board: BoardReport, trial: BoardTrial, extra: dict[str, Any]) -> None:
        record = trial.record
        pair = trial.block.dense_model.workload
        shared = {
            "board": [board.anchor, board.name, board_address(self._report, board)],
            "workload": [workload(pair), slug(*pair), workload_address(self._report, pair, board)],
            "criterion": [trial.criterion.label, slug(trial.criterion.label)],
            "provenance": record.provenance,
            "settings": record.settings,
        }
        row = {
            "key": record.key,
            "removed": sparsity(trial.block.sparsity),
            "status": record.status,
            "axes": record.axes,
            "metrics": {n: v for n, v in record.metrics.items() if not str(n).startswith(_CLASS)},
            "stages": record.stages,
            "shared": [self._number(name, value) for name, value in shared.items()],
        }
        if record.error:
            row["error"] = record.error
        self._rows[address] = _plain(row) | extra

    def _number(self, name: str, value: Any) -> int:
        # Most records share these: cleaning them once for each different one is a large part of the work.
        raw = json.dumps([name, value], sort_keys=True, default=repr)
        if raw not in self._seen:
            text = json.dumps(_plain([name, value]), ensure_ascii=False, sort_keys=True)
            self._seen[raw] = self._shared.setdefault(text, len(self._shared))
        return self._seen[raw]

    def script(self) -> bytes:
        """The shard as a script that assigns its text to a variable."""
        shared = [json.loads(text) for text in self._shared]
        text = json.dumps({"shared": shared, "trials": self._rows}, ensure_ascii=False, separators=(",", ":"))
        packed = gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)
        return b'globalThis.benchsuiteShard="' + base64.b64encode(packed) + b'";\n'


def _from_folders(
    trials: Sequence[tuple[BoardReport, BoardTrial]], folders: RunFolders, files: dict[str, bytes]
) -> dict[str, dict[str, Any]]:
    """The details that the trials' folders add to their rows; pictures are added to the files."""
    left = dict(PICTURE_BYTES)
    letters = DETAIL_LETTERS
    added: dict[str, dict[str, Any]] = {}
    for trial in _in_comparable_order(trials):
        folder = folders.find(trial.record.key)
        address = trial_id(trial.record.key)
        classes = {n: v for n, v in trial.record.metrics.items() if str(n).startswith(_CLASS)}
        found: dict[str, Any] = {"classes": classes} if classes else {}
        if folder is not None:
            found |= {
                "layers": layers(folder),
                "losses": recovery_losses(folder),
                "confusion": confusion(folder),
            }
        found = _plain({name: value for name, value in found.items() if value is not None})
        letters -= len(json.dumps(found))
        if letters < 0:
            found = {"cut": True}
        if folder is not None:
            found["kept"] = True
            shown, elsewhere = _pictures(folder, address, left, files)
            found |= {"pictures": shown} if shown else {}
            found |= {"elsewhere": elsewhere} if elsewhere else {}
        if found:
            added[address] = found
    return added


def _pictures(
    folder: Path, address: str, left: dict[str, int], files: dict[str, bytes]
) -> tuple[list[str], list[str]]:
    """Which pictures were added to the files, and which stay in the run directory because of the limit."""
    shown, elsewhere = [], []
    for name in PICTURES:
        content = picture(folder, name, left[name])
        if content is not None:
            left[name] -= len(content)
            files[f"pictures/{address}-{name}"] = content
            shown.append(name)
        elif has_picture(folder, name):
            elsewhere.append(name)
    return shown, elsewhere


def _in_comparable_order(trials: Sequence[tuple[BoardReport, BoardTrial]]) -> list[BoardTrial]:
    """Trials ordered so that those of all criteria on one dense network at one sparsity are together."""

    def order(trial: BoardTrial) -> tuple[Any, ...]:
        dense = trial.block.dense_model
        seed = (len(dense.seed), dense.seed)
        place = (trial.criterion.is_control, trial.criterion.label)
        return (trial.draw, seed, sparsity_order(trial.block.sparsity), dense.workload, *place)

    return sorted((trial for _, trial in trials), key=order)


def _cell(trial: BoardTrial) -> str:
    axes = {name: value for name, value in trial.record.axes.items() if name != "scorer_params"}
    return json.dumps([axes, trial.record.settings], sort_keys=True, default=str)


def _ambiguous(trials: Sequence[tuple[BoardReport, BoardTrial]]) -> dict[str, int]:
    """How many trials the same filters select."""
    counts: dict[str, int] = defaultdict(int)
    for _, trial in trials:
        counts[_cell(trial)] += 1
    return counts


def _plain(value: Any) -> Any:
    """JSON that every browser reads: cleaned texts, numbers with seven digits, null for NaN and infinity."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name, 200): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.7g}")
    return value if value is None or isinstance(value, bool | int) else clean(value)
