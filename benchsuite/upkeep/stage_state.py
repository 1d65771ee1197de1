"""One stage's folder as it is: whole, damaged, or never completed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import ValidationError

from benchsuite.execution.logs import LOG
from benchsuite.execution.sampling import SYSTEM_FILE
from benchsuite.store.files import read_regular
from benchsuite.store.keys import content_key
from benchsuite.store.stages import Facts
from benchsuite.store.texts import printable, read_json
from benchsuite.trials.facts import (
    CUT,
    OUTPUTS,
    PRUNED,
    RECOVERED,
    SCORES,
    WEIGHTS,
    DataFacts,
    DenseFacts,
    DissectionFacts,
    MetricFacts,
    PrunedFacts,
    RoundFacts,
    ScoreFacts,
    TraceFacts,
)
from benchsuite.upkeep.own_files import Contents, contents_of, digest_of

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["data", "train", "trace", "score", "round", "trial", "dissection", "concepts", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STAGE = "stage.json"
KEPT = (LOG, SYSTEM_FILE, ".lock")
"""What may lie in the folder of a stage that was never completed: what its worker said, and its lock."""
TABLES = ("tables/", "tables-at-init/")
"""Folders of a dense model's stage with what its criteria share."""
_TEMPORARY = re.compile(
    r"\..+\.\d+(?:-journal)?|.+\.\d+\.part|round\.pt|round-scores\.safetensors|measured\.(?:pt|json)"
)
_OLD_TRIAL = "pruning.json"
_LARGEST = 64 << 20
_GIB = 1 << 30
_FIELDS: dict[str, type] = {
    **dict.fromkeys(("key", "made_from", "content", "checksum"), str),
    **dict.fromkeys(("facts", "files"), dict),
}
_FACTS: dict[Kind, tuple[type[Facts], tuple[str, ...]]] = {
    "data": (DataFacts, ("data.safetensors",)),
    "train": (DenseFacts, (WEIGHTS,)),
    "trace": (TraceFacts, ()),
    "score": (ScoreFacts, (SCORES,)),
    "round": (RoundFacts, (CUT, RECOVERED)),
    "trial": (PrunedFacts, (PRUNED, OUTPUTS)),
    "dissection": (DissectionFacts, ()),
    "metric": (MetricFacts, ()),
    "concepts": (Facts, ("images.npy", "masks.i16", "index.npz", "concepts.json")),
}
"""By kind, what its maker notes, and files that each stage of it has."""


@dataclass(frozen=True)
class StageState:
    """What is in a stage's folder.

    Attributes:
        key: the folder's name.
        form: `complete` with a `stage.json`, readable or not; `old`, from before checksums; `half-made`
            without one; `log` where there is nothing but what a worker said.
        contents: its files.
        kind: what kind of stage it is, where that can be told.
        fault: what is damaged, if something is.
        gone: files that it should have and that are not there.
        made_from: what identifies the stages that it was made from.
        content: what identifies its numbers.
        listed: the files that decide numbers.
    """

    key: str
    form: Literal["complete", "old", "half-made", "log"]
    contents: Contents
    kind: Kind | None = None
    fault: str = ""
    gone: tuple[str, ...] = ()
    made_from: str = ""
    content: str = ""
    listed: tuple[str, ...] = field(default=())

    @property
    def is_whole(self) -> bool:
        """Whether it is complete and all that it should have is there as it was left."""
        return self.form == "complete" and not self.fault and not self.gone

    @property
    def temporary(self) -> tuple[str, ...]:
        """Files that a process left while it wrote them."""
        return tuple(name for name in self.contents.files if is_temporary(name.rpartition("/")[2]))

    @property
    def tables(self) -> tuple[str, ...]:
        """Files of tables that criteria share."""
        return tuple(name for name in self.contents.files if name.startswith(TABLES))


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that is renamed or deleted once it is written."""
    return _TEMPORARY.fullmatch(name) is not None


def look_at(folder: Path, *, check: bool = True) -> StageState:
    """What is in a stage's folder, which is no link.

    Args:
        folder: the stage's.
        check: read its files and compare them with their checksums.
    """
    contents = contents_of(folder)
    if STAGE not in contents.files and STAGE not in contents.foreign:
        if _OLD_TRIAL in contents.files:
            return StageState(folder.name, "old", contents, "trial")
        made = set(contents.files).difference(KEPT)
        return StageState(folder.name, "half-made" if made else "log", contents)
    try:
        stored = _read(folder)
    except (OSError, ValueError) as error:
        fault = f"{STAGE} is damaged ({_reason(error)})"
        return StageState(folder.name, "complete", contents, _kind_of(folder.name, {}, contents.files), fault)
    if "files" not in stored:
        return StageState(folder.name, "old", contents, _kind_of(folder.name, stored, contents.files))
    kind = _kind_of(folder.name, stored["facts"], stored["files"])
    fault = _fault(folder.name, stored, kind)
    names = [] if fault else list(stored["files"])
    gone = [name for name in names if name not in contents.files and name not in contents.foreign]
    for name in names if check else ():
        if not fault and name not in gone:
            fault = _fault_of_file(folder / name, stored["files"][name])
    return StageState(
        key=folder.name,
        form="complete",
        contents=contents,
        kind=kind,
        fault=fault,
        gone=tuple(gone),
        made_from=stored["made_from"],
        content=stored["content"],
        listed=tuple(names),
    )


def _read(folder: Path) -> dict[str, Any]:
    """What a `stage.json` says; only the facts in one from before checksums."""
    stored = read_json(read_regular(folder / STAGE, _LARGEST, follow=False))
    if not isinstance(stored, dict) or not stored:
        raise ValueError("it is no table")
    if "files" in stored:
        if stored.keys() != _FIELDS.keys():
            raise ValueError("its fields are not those of a stage")
        wrong = [name for name, kind in _FIELDS.items() if not isinstance(stored[name], kind)]
        if wrong or not all(isinstance(digest, str) for digest in stored["files"].values()):
            raise ValueError(f"{(wrong or ['files'])[0]} has the wrong type")
    return stored


def _kind_of(name: str, facts: dict[str, Any], files: Any) -> Kind | None:
    if name.startswith("concepts-"):
        return "concepts"
    by_fact: dict[str, Kind] = {
        "cuts": "round",
        "removed": "trial",
        "train_seconds": "train",
        "augmentation": "data",
        "ties": "score",
        "numbers": "metric",
    }
    # A trace without its file says the same; records name it.
    last: list[Kind] = ["dissection"] if "unsupported" in facts else []
    by_file: dict[str, Kind] = {
        RECOVERED: "round",
        OUTPUTS: "trial",
        "data.safetensors": "data",
        SCORES: "score",
        "trace.safetensors": "trace",
        "dissection.npz": "dissection",
        WEIGHTS: "train",
    }
    told = [kind for fact, kind in by_fact.items() if fact in facts]
    return next(iter([*told, *(kind for file, kind in by_file.items() if file in files), *last]), None)


def _fault(key: str, stored: dict[str, Any], kind: Kind | None) -> str:
    """What is wrong with the content of a `stage.json`, if something is."""
    rest = {name: value for name, value in stored.items() if name != "checksum"}
    try:
        found = content_key(rest)
    except RecursionError:
        return f"{STAGE} is damaged (brackets are nested too deeply)"
    if found != stored["checksum"]:
        return f"{STAGE} is damaged (its checksum is another)"
    if stored["key"] != key:
        return f"{STAGE} is that of another stage, {printable(stored['key'], 60)!r}"
    odd = [name for name in stored["files"] if "/" in name or name in ("", ".", "..") or "\0" in name]
    if odd:
        return f"{STAGE} is damaged (it names {printable(odd[0], 80)!r}, which is no file of it)"
    if kind is not None:
        facts, needed = _FACTS[kind]
        absent = [name for name in needed if name not in stored["files"]]
        if absent:
            return f"{STAGE} is damaged (it has no checksum of {absent[0]})"
        try:
            facts.model_validate(stored["facts"])
        except (ValidationError, RecursionError):
            return f"{STAGE} is damaged (its facts are not those of such a stage)"
    return ""


def _fault_of_file(path: Path, expected: str) -> str:
    try:
        if _has_another_length(path) or digest_of(path) != expected:
            return f"{printable(path.name, 80)} is damaged (its checksum is another)"
    except OSError as error:
        return f"{printable(path.name, 80)} cannot be read ({_reason(error)})"
    return ""


def _has_another_length(path: Path) -> bool:
    """Whether a very large file is seen to be another without reading it: its header says how long it is."""
    length = path.stat(follow_symlinks=False).st_size
    if length < _GIB or path.suffix != ".safetensors":
        return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            return False
    except SafetensorError:
        return True


def _reason(error: Exception) -> str:
    return printable((error.strerror if isinstance(error, OSError) else None) or str(error), 200)
