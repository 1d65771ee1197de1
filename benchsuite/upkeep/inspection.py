"""What a run directory holds, and what of it is not as it should be. Changes nothing."""

from __future__ import annotations

import fcntl
import os
import stat
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError
from benchsuite.store.files import open_regular, read_regular
from benchsuite.store.freed import FREED
from benchsuite.store.texts import printable, read_json
from benchsuite.upkeep.own_files import entries_of, files_in, taken
from benchsuite.upkeep.references import References, cells_of, references_of
from benchsuite.upkeep.results_lines import Lines, read_lines
from benchsuite.upkeep.stage_state import StageState, is_temporary, look_at

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.store.run_directory import Cell

_FILES = (
    ".lock",
    "results.jsonl",
    "results.damaged.jsonl",
    "plan.json",
    "suite.toml",
    FREED,
    "mlflow.db",
    "mlflow.damaged.db",
    "mlflow.behind",
)
_FOLDERS = ("stages", "mlartifacts", "summary", "site", "agreement", "ranking", "exports")
_LARGEST = 1 << 30
_SMALL = 64 << 20


@dataclass(frozen=True)
class Inspected:
    """What is in a run directory.

    Attributes:
        run: the directory.
        lines: of its results file.
        cells: of its plan; None without one.
        references: which stages these refer to.
        stages: what is in the folder of each stage.
        strange: of what is no file or folder where one should be, the path within the run and what it is.
        unreadable: by name, files that say nothing that can be understood, and why.
        temporary: files right in the run that a process left while it wrote them, with their bytes.
        freed: keys of the stages whose weights were freed on purpose.
        dissects: whether the suite asks for dissection, or may.
        at_work: whether another process holds the directory's lock.
    """

    run: Path
    lines: Lines
    cells: tuple[Cell, ...] | None
    references: References
    stages: dict[str, StageState]
    strange: tuple[tuple[str, str], ...]
    unreadable: dict[str, str]
    temporary: dict[str, int]
    freed: frozenset[str]
    dissects: bool
    at_work: bool

    @property
    def obstacle(self) -> str:
        """Why nothing may be changed here; empty if nothing speaks against it."""
        for where, what in self.strange:
            if "/" not in where:
                return f"{self.run / where} {what}"
        return f"{self.run} is being written by another run" if self.at_work else ""


def inspect(run: Path, *, check: bool = True, ours: bool = False) -> Inspected:
    """Look at everything in a run directory.

    Args:
        run: the directory.
        check: read the files of stages and compare them with their checksums.
        ours: whether this process holds the directory's lock.

    Raises:
        UsageError: this is no run directory.
    """
    if not any(os.path.lexists(run / name) for name in ("results.jsonl", "plan.json")):
        raise UsageError(f"{run} is not a run directory: it has no results.jsonl")
    strange = [found for name in (*_FILES, *_FOLDERS) if (found := _strange(run, name))]
    unreadable: dict[str, str] = {}
    lines = _lines(run, unreadable)
    cells = _cells(run, unreadable)
    suite = _suite(run, unreadable)
    stages: dict[str, StageState] = {}
    if not any(name == "stages" for name, _ in strange):
        names, others = entries_of(run / "stages") if (run / "stages").is_dir() else ([], [])
        strange += [(f"stages/{name}", "is no folder of a stage") for name in others]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing leaves the interpreter's lock
            states = pool.map(partial(look_at, check=check), (run / "stages" / name for name in names))
            stages = {state.key: state for state in states}
    for key, state in stages.items():
        strange += [
            (f"stages/{key}/{name}", "is no file or folder of a run") for name in state.contents.foreign
        ]
    return Inspected(
        run=run,
        lines=lines,
        cells=cells,
        references=references_of(lines.records, cells, _unclear(lines, unreadable)),
        stages=stages,
        strange=tuple(strange),
        unreadable=unreadable,
        temporary=_temporary(run),
        freed=freed_of(run),
        dissects=_dissects(suite, lines),
        at_work=not ours and is_held(run),
    )


def is_held(run: Path) -> bool:
    """Whether another process holds the directory as its writer; makes no file."""
    try:
        with open_regular(run / ".lock", follow=False) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def freed_of(run: Path) -> frozenset[str]:
    """Keys of the stages whose weights were freed on purpose."""
    try:
        keys = read_json(read_regular(run / FREED, _SMALL, follow=False))["weights"]
        return frozenset(key for key in keys if isinstance(key, str))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def _strange(run: Path, name: str) -> tuple[str, str] | None:
    """What a file or folder of the run directory is, where it is neither."""
    try:
        mode = (run / name).lstat().st_mode
    except OSError:
        return None
    if (stat.S_ISDIR if name in _FOLDERS else stat.S_ISREG)(mode):
        return None
    return name, "is a link" if stat.S_ISLNK(mode) else "is no file or folder of a run"


def _temporary(run: Path) -> dict[str, int]:
    ours = tuple(f".{name}." for name in (*_FILES, "room"))
    found = [file for file in files_in(run) if file.name.startswith(ours) and is_temporary(file.name)]
    return {file.name: taken(file.lstat()) for file in found}


def _lines(run: Path, unreadable: dict[str, str]) -> Lines:
    try:
        return read_lines(run / "results.jsonl")
    except FileNotFoundError:
        return Lines()
    except OSError as error:
        unreadable["results.jsonl"] = error.strerror or str(error)
        return Lines()


def _cells(run: Path, unreadable: dict[str, str]) -> tuple[Cell, ...] | None:
    try:
        return cells_of(read_json(read_regular(run / "plan.json", _LARGEST, follow=False)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        unreadable["plan.json"] = _reason(error)
        return None


def _suite(run: Path, unreadable: dict[str, str]) -> dict[str, Any] | None:
    try:
        suite = tomllib.loads(read_regular(run / "suite.toml", _SMALL, follow=False).decode())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        unreadable["suite.toml"] = _reason(error)
        return None
    if not isinstance(suite.get("suite"), dict) or not isinstance(suite.get("workload"), list):
        unreadable["suite.toml"] = "it lacks [suite] or [[workload]]"
        return None
    return suite


def _unclear(lines: Lines, unreadable: dict[str, str]) -> str:
    if lines.damaged:
        return "results.jsonl has damaged lines"
    names = [name for name in ("results.jsonl", "plan.json") if name in unreadable]
    return f"{names[0]} cannot be read" if names else ""


def _dissects(suite: dict[str, Any] | None, lines: Lines) -> bool:
    metrics = suite.get("metrics", {}) if suite is not None else None
    if not isinstance(metrics, dict) or metrics.get("dissection"):
        return True
    return any("dissection" in record.provenance for record in lines.records.values())


def _reason(error: Exception) -> str:
    return printable((error.strerror if isinstance(error, OSError) else None) or str(error), 200)
