"""Every trial's record as scripts for the page of one trial, which also works from a local file.

A shard is JSON, compressed and written as text into a script: browsers allow a page that was opened from a
local file to load scripts but not data. A shard has trials of one workload; an index says which shard has a
trial. In a shard, values of one kind lie together, which makes it half as large as rows would be.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from benchsuite.store import metric_names
from benchsuite_leaderboard.packed import packed_script
from benchsuite_leaderboard.pages.addresses import board_address, slug, trial_id, workload_address
from benchsuite_leaderboard.pages.formats import clean, sparsity, workload
from benchsuite_leaderboard.protocol import sparsity_order
from benchsuite_leaderboard.run_folders import (
    confusion,
    has_picture,
    layers,
    picture,
    pictures_in,
    recovery_losses,
    tables,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchsuite_leaderboard.board import BoardTrial, Workload
    from benchsuite_leaderboard.report import BoardReport, Report
    from benchsuite_leaderboard.run_folders import RunFolders

_PARTS = ("own", "axes", "metrics", "classes", "stages")
_SIGNIFICANT = 6
_DIGITS = 8
"""Digits of an address in the index; where two trials share them, both are looked at."""
SHARD = 1000
"""Approximate maximum number of trials in one shard."""
PICTURE_BYTES = {"detectors.jpg": 3_000_000, "concepts.png": 1_000_000, "": 6_000_000}
"""Largest total size of all pictures of a kind; under no name those of metric plugins."""
DETAIL_LETTERS = 12_000_000
"""Most characters of layers, recoveries and counts by class, before compression to about a tenth."""

SHOWN_OF_ROUNDS = (
    metric_names.SPARSITY_PARAMS,
    metric_names.SPARSITY_MACS,
    metric_names.TOP1_BEFORE_RECOVERY,
    metric_names.TOP1,
    metric_names.DETECTORS,
    f"{metric_names.INTERPRETABILITY}concepts",
    f"{metric_names.INTERPRETABILITY}still_interpretable",
)
MOST_ROUNDS = 200
"""Rounds of a trial that its page shows."""
_CLASS = metric_names.CLASS
_WRITTEN = json.JSONEncoder(sort_keys=True, default=repr)


@dataclass(frozen=True)
class TrialFiles:
    """The files that the page of one trial loads.

    Attributes:
        files: scripts and pictures by their path within the site.
        shards: the names of the shards of each workload.
    """

    files: dict[str, bytes]
    shards: dict[Workload, list[str]]


def trial_files(report: Report, folders: RunFolders) -> TrialFiles:
    """The shards of a report's trials, with details from run directories up to the limits."""
    trials = [(board, trial) for board in report.boards for trial in board.board.trials]
    files: dict[str, bytes] = {}
    added = _from_folders(trials, folders, files)
    cells = [_cell(trial) for _, trial in trials]
    alike = Counter(cells)
    names: dict[Workload, list[str]] = defaultdict(list)
    shards: dict[str, _Shard] = {}
    for (board, trial), cell in zip(trials, cells, strict=True):
        address = trial_id(trial.record.key)
        pair = trial.block.dense_model.workload
        if not names[pair] or len(shards[names[pair][-1]]) >= SHARD:
            names[pair].append(f"{slug(*pair)}-{len(names[pair])}")
            shards[names[pair][-1]] = _Shard(report)
        extra = {"alike": alike[cell]} if alike[cell] > 1 else {}
        shards[names[pair][-1]].add(address, board, trial, added.get(address, {}) | extra)
    if shards:
        files["trials/index.js"] = packed_script(_index(shards))
    files |= {f"trials/{name}.js": packed_script(shard.folded()) for name, shard in shards.items()}
    return TrialFiles(files, dict(names))


def _index(shards: Mapping[str, _Shard]) -> dict[str, Any]:
    """The first digits of the addresses of each shard's trials, as one text."""
    return {
        "digits": _DIGITS,
        "shards": [
            [name, "".join(address[:_DIGITS] for address in shard.addresses)]
            for name, shard in shards.items()
        ],
    }


def fold(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as columns.

    `names` and `columns` belong together, and a column has the values of those rows that have its name.
    `kinds` are the different lists of names of a row, as places in `names`; `of` has each row's kind.
    """
    columns: dict[str, list[Any]] = {}
    kinds: dict[tuple[str, ...], int] = {}
    of = []
    for row in rows:
        of.append(kinds.setdefault(tuple(row), len(kinds)))
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    places = {name: i for i, name in enumerate(columns)}
    return {
        "names": list(columns),
        "columns": list(columns.values()),
        "kinds": [[places[name] for name in kind] for kind in kinds],
        "of": of,
    }


class _Shard:
    """Rows, with values that many of them share stored once."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._rows: dict[str, list[dict[str, Any]]] = {part: [] for part in _PARTS}
        self.addresses: list[str] = []
        self._places: dict[object, list[int]] = {}
        self._shared: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def add(self, address: str, board: BoardReport, trial: BoardTrial, extra: dict[str, Any]) -> None:
        record = trial.record
        pair = trial.block.dense_model.workload
        place = (board.anchor, pair, trial.criterion.label)
        if place not in self._places:
            shared = {
                "board": [board.anchor, board.name, board_address(self._report, board)],
                "workload": [workload(pair), slug(*pair), workload_address(self._report, pair, board)],
                "criterion": [trial.criterion.label, slug(trial.criterion.label)],
            }
            self._places[place] = [self._number(name, value) for name, value in shared.items()]
        own = {
            "key": record.key,
            "removed": sparsity(trial.block.sparsity),
            "status": record.status,
            "shared": [
                *self._places[place],
                self._number("provenance", record.provenance),
                self._number("settings", record.settings),
            ],
        }
        if record.error:
            own["error"] = record.error
        if record.rounds:
            own["rounds"] = [
                {name: each[name] for name in SHOWN_OF_ROUNDS if name in each}
                for each in record.rounds[:MOST_ROUNDS]
            ]
        metrics = {n: v for n, v in record.metrics.items() if not str(n).startswith(_CLASS)}
        parts = {"axes": record.axes, "metrics": metrics, "stages": record.stages}
        rest = {name: value for name, value in extra.items() if name != "classes"}
        self.addresses.append(address)
        self._rows["own"].append(_plain(own) | rest)
        self._rows["classes"].append(extra.get("classes", {}))
        for name, values in parts.items():
            # A command's filter names a trial by its axes, so these are whole.
            self._rows[name].append(_plain(values, 12 if name == "axes" else _SIGNIFICANT))

    def __len__(self) -> int:
        return len(self.addresses)

    def _number(self, name: str, value: Any) -> int:
        # Most records share these: cleaning them once for each different one is a large part of the work.
        raw = _WRITTEN.encode([name, value])
        if raw not in self._seen:
            text = json.dumps(_plain([name, value]), ensure_ascii=False, sort_keys=True)
            self._seen[raw] = self._shared.setdefault(text, len(self._shared))
        return self._seen[raw]

    def folded(self) -> dict[str, Any]:
        """Everything in the shard: the trials' addresses, and each part of their rows by columns."""
        shared = [json.loads(text) for text in self._shared]
        parts = {part: fold(rows) for part, rows in self._rows.items()}
        return {"shared": shared, "ids": self.addresses, **parts}


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
                "tables": tables(folder),
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
    for name in pictures_in(folder):
        kind = name if name in left else ""
        content = picture(folder, name, left[kind])
        if content is not None:
            left[kind] -= len(content)
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
    """Equal for trials that the same filters select."""
    axes = {name: value for name, value in trial.record.axes.items() if name != "scorer_params"}
    return _WRITTEN.encode([axes, trial.record.settings])


def _plain(value: Any, digits: int = _SIGNIFICANT) -> Any:
    """JSON that every browser reads: cleaned texts, numbers with few digits, null for NaN and infinity."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        # Metrics are numbers by the hundred thousand: for those no further call is made.
        form = f"%.{digits}g"
        return {
            _name(name): _short(inner, form) if type(inner) is float else _plain(inner, digits)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(inner, digits) for inner in value]
    if isinstance(value, float):
        return _short(value, f"%.{digits}g")
    return value if value is None or isinstance(value, bool | int) else clean(value)


def _short(value: float, form: str) -> float | None:
    """A number of few digits; None for NaN and infinity."""
    if value.is_integer():
        return int(value) if abs(value) < 1e15 else float(form % value)
    return float(form % value) if math.isfinite(value) else None


@lru_cache(1 << 14)
def _name(name: object) -> str:
    return clean(name, 200)
