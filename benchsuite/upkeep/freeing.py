"""What of a run directory can be made again, what that would cost, and how it is freed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.store.files import write_atomically
from benchsuite.store.freed import FREED
from benchsuite.store.keys import is_content_key
from benchsuite.store.texts import printable
from benchsuite.upkeep.inspection import freed_of
from benchsuite.upkeep.orphans import orphans_of
from benchsuite.upkeep.own_files import entries_of, remove_files, remove_folder
from benchsuite.upkeep.references import scorings_in
from benchsuite.upkeep.repair import drop_temporary, empty
from benchsuite.upkeep.stage_state import KEPT, KINDS, TABLES, look_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from benchsuite.upkeep.inspection import Inspected
    from benchsuite.upkeep.stage_state import Kind, StageState

CHECKPOINTS: tuple[Kind, ...] = ("data", "train", "trace", "round", "trial", "dissection", "concepts")
SCORES: tuple[Kind, ...] = ("score",)
_FACTS_STAY: tuple[Kind | None, ...] = ("train", "trial")
"""Of these the facts stay, and what people look at: pages and MLflow show them."""
_TABLES_COST = "filled again by a pass or two when a new scorer needs them"
_NAMES: dict[Kind, tuple[str, str]] = {
    "data": ("copies of data sets", "read again from the data folder"),
    "train": ("weights of dense models", "trained again when a trial needs one, such as by a new scorer"),
    "trace": ("training traces", "recorded again by training again, for a scorer that needs one"),
    "score": ("scores", "scored again for a new sparsity; criteria are compared by those that are left"),
    "round": ("rounds of rewinding", "made again by a trial with another sparsity that begins alike"),
    "trial": ("weights of pruned networks", "export needs one: run --again KEY makes it anew"),
    "dissection": ("dissections of dense models", "dissected again for a new trial"),
    "metric": ("numbers of metric plugins on dense models", "measured again for a new trial"),
    "concepts": ("packed concept sets", "packed again from the data folder for a new trial"),
}


@dataclass(frozen=True)
class Freeable:
    """Something that can be freed.

    Attributes:
        what: what it is, in the plural.
        cost: what it costs to have it again.
        keys: of the stages in which it lies.
        bytes: what it takes.
        free: deletes it, given the folder of all stages and one of these; returns the bytes that it took.
        kind: of the stages, where whole kinds are freed.
    """

    what: str
    cost: str
    keys: tuple[str, ...]
    bytes: int
    free: Callable[[Path, StageState], int]
    kind: Kind | None = None


def freeable(seen: Inspected, kinds: Iterable[Kind] = (), *, superseded: bool = False) -> list[Freeable]:
    """What can be freed of a run directory, in groups.

    Args:
        seen: what is in it.
        kinds: kinds of stages that are freed although cells of the suite refer to them.
        superseded: free the stages, too, that only records of an earlier form of the suite refer to.
    """
    kinds, references, stages = tuple(kinds), seen.references, seen.stages
    orphans = orphans_of(seen)
    half_made = [
        key for key, state in stages.items() if state.form == "half-made" and key not in references.finished
    ]
    gone = {*orphans, *half_made}
    left = [key for key, state in stages.items() if state.temporary and key not in gone]
    waiting = set() if "train" in kinds else _tables_to_come(seen)
    tables = [key for key, state in stages.items() if state.tables and key not in gone | waiting]
    found = [
        _group(seen, "stages that nothing refers to", "not needed", orphans, _size, _drop),
        _group(
            seen,
            "stages that were never completed",
            "made when a trial needs them",
            half_made,
            _but_words,
            _empty,
        ),
        _group(
            seen, "stages with files left over while they were written", "not needed", left, _left, _drop_left
        ),
        _group(seen, "dense models' tables of activations", _TABLES_COST, tables, _tables, _drop_tables),
    ]
    heavy = {key: kind for key, state in stages.items() if _weight(state) and (kind := _kind(seen, state))}
    for kind in kinds:
        name, cost = _NAMES[kind]
        keys = [
            key
            for key, of in heavy.items()
            if of == kind and key not in gone and (key in references.current or key not in references.kinds)
        ]
        found.append(_group(seen, name, cost, keys, _weight_dropped, _drop_weight, kind))
    for kind in KINDS if superseded else ():
        old = [
            key
            for key, of in heavy.items()
            if of == kind and key in references.kinds.keys() - references.current
        ]
        name = f"{_NAMES[kind][0]} of an earlier form of the suite"
        found.append(_group(seen, name, "not needed by this suite", old, _weight_dropped, _drop_weight, kind))
    return [group for group in found if group.keys]


def free(seen: Inspected, groups: Iterable[Freeable]) -> tuple[int, list[str]]:
    """Free these groups; the directory's lock is held.

    Returns:
        The bytes that were freed, and a sentence for each stage of which something could not be deleted.
    """
    freed, failed, groups = 0, [], tuple(groups)
    _note(seen, [key for group in groups if group.kind in _FACTS_STAY for key in group.keys])
    for group in groups:
        for key in group.keys:
            try:
                freed += group.free(seen.run / "stages", seen.stages[key])
            except OSError as error:
                where = printable(f"stages/{key}", 300)
                failed.append(f"{where}: {printable(error.strerror or str(error), 200)}")
    return freed, failed


def _group(
    seen: Inspected,
    what: str,
    cost: str,
    keys: Iterable[str],
    size: Callable[[StageState], int],
    how: Callable[[Path, StageState], int],
    kind: Kind | None = None,
) -> Freeable:
    keys = tuple(keys)
    return Freeable(what, cost, keys, sum(size(seen.stages[key]) for key in keys), how, kind)


def renew_freed(run: Path) -> None:
    """Forget of the weights that were freed those that are there again; the directory's lock is held."""
    noted = freed_of(run)
    still = {
        key
        for key in noted
        if is_content_key(key)
        and (run / "stages" / key).is_dir()
        and look_at(run / "stages" / key, check=False).gone
    }
    if still != noted:
        _write_freed(run, still)


def _note(seen: Inspected, keys: list[str]) -> None:
    """Note that these weights are gone on purpose, before they are."""
    if keys:
        before = {key for key in seen.freed if key in seen.stages and seen.stages[key].gone}
        _write_freed(seen.run, before.union(keys))


def _write_freed(run: Path, keys: Iterable[str]) -> None:
    write_atomically(run / FREED, json.dumps({"weights": sorted(keys)}, indent=1) + "\n")


def _tables_to_come(seen: Inspected) -> set[str]:
    """Keys of the dense models whose tables a scoring reads that is still to come."""
    if seen.references.unclear:
        return set(seen.stages)
    return {
        cell.stages.get("train", "")
        for cell in seen.references.pending
        for role in scorings_in(cell.stages) or ["score"]
        if (score := seen.stages.get(cell.stages.get(role, ""))) is None or not _weight(score)
    }


def _kind(seen: Inspected, state: StageState) -> Kind | None:
    """What kind of stage it is; None where records and its own file say different things."""
    named = seen.references.kinds.get(state.key, state.kind)
    return named if state.kind in (None, named) else None


def _size(state: StageState) -> int:
    return state.contents.bytes


def _left(state: StageState) -> int:
    return sum(state.contents.files[name] for name in state.temporary)


def _tables(state: StageState) -> int:
    return sum(state.contents.files[name] for name in state.tables)


def _weight(state: StageState) -> int:
    """What the files take that decide numbers, without those that are gone already."""
    return sum(state.contents.files.get(name, 0) for name in state.listed)


def _but_words(state: StageState) -> int:
    """What goes of a stage that is emptied: all but what its worker said."""
    return state.contents.bytes - sum(state.contents.files.get(name, 0) for name in KEPT)


def _weight_dropped(state: StageState) -> int:
    """What goes of a stage whose weight is dropped."""
    return _weight(state) if state.kind in _FACTS_STAY else _but_words(state)


def _drop(stages: Path, state: StageState) -> int:
    return remove_folder(stages, state.key)


def _empty(stages: Path, state: StageState) -> int:
    return empty(stages, state.key)


def _drop_left(stages: Path, state: StageState) -> int:
    return drop_temporary(stages / state.key)


def _drop_tables(stages: Path, state: StageState) -> int:
    folder = stages / state.key
    return sum(remove_folder(folder, name) for name in entries_of(folder)[0] if f"{name}/" in TABLES)


def _drop_weight(stages: Path, state: StageState) -> int:
    if state.kind in _FACTS_STAY:
        return remove_files(stages / state.key, state.listed)
    return empty(stages, state.key)
