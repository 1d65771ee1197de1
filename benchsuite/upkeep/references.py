"""Which stages the records and the cells of a run refer to."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchsuite.store.keys import is_content_key
from benchsuite.store.run_directory import Cell
from benchsuite.store.texts import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.store.record import TrialRecord
    from benchsuite.upkeep.stage_state import Kind

_ROLES: dict[str, Kind] = {
    "data": "data",
    "train": "train",
    "trace": "trace",
    "early": "trace",
    "score": "score",
    "trial": "trial",
}
"""Names of stages in a record, and what kind of stage each is."""
_NUMBERED: dict[str, Kind] = {"score": "score", "metric": "metric", "round": "round"}
"""Names that may have a number behind, as in score_2."""
_SEVERAL = re.compile(r"([a-z]+)(?:_[0-9]+)?")
_PARENTS = {"train": "data", "trace": "train", "early": "train", "score": "train", "metric": "train"}
"""A round is made from several others, so that a trial alone can tell whether they are the same."""


@dataclass
class References:
    """What records and cells refer to.

    Attributes:
        kinds: by key of a stage, what kind of stage it is.
        parents: by key of a stage, keys of those that it is made from.
        titles: by key of a stage, what a person calls it.
        current: keys of the stages that cells of the suite as it now stands refer to.
        cells: keys of the suite's cells; None where no plan says them.
        pending: the cells without an outcome.
        finished: by key, the records of trials that are done.
        unclear: why there may be references that nobody knows of, if so.
    """

    kinds: dict[str, Kind] = field(default_factory=dict)
    parents: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    titles: dict[str, str] = field(default_factory=dict)
    current: set[str] = field(default_factory=set)
    cells: frozenset[str] | None = None
    pending: list[Cell] = field(default_factory=list)
    finished: dict[str, TrialRecord] = field(default_factory=dict)
    unclear: str = ""

    def is_current(self, key: str) -> bool:
        """Whether a trial is a cell of the suite as it now stands, as far as that is known."""
        return self.cells is None or key in self.cells

    def add(self, cell: TrialRecord | Cell) -> None:
        """Note what a record or a cell refers to."""
        stages = {**cell.stages, "trial": cell.key}
        for role, key in stages.items():
            if (kind := _kind_of(role)) is not None and key:
                self.kinds[key] = kind
                if self.is_current(cell.key):
                    self.current.add(key)
                self.titles.setdefault(key, _title(kind, cell.axes, role))
                parent = stages.get(_PARENTS.get(role if role in _PARENTS else kind, ""))
                if parent:
                    self.parents[key].add(parent)


def references_of(
    records: Mapping[str, TrialRecord], cells: tuple[Cell, ...] | None, unclear: str
) -> References:
    """What the records and the suite's cells refer to.

    Args:
        records: the last of each key.
        cells: of the plan; None where there is none.
        unclear: why some of either could not be read.
    """
    found = References(unclear=unclear)
    if cells is not None:
        found.cells = frozenset(cell.key for cell in cells)
    for record in records.values():
        found.add(record)
        if record.status == "done":
            found.finished[record.key] = record
    if cells is not None:
        for cell in cells:
            found.add(cell)
            if cell.key not in records:
                found.pending.append(cell)
        if not unclear and not all(cell.stages for cell in found.pending):
            found.unclear = "plan.json does not say on which stages the cells without an outcome stand"
    return found


def cells_of(plan: Any) -> tuple[Cell, ...]:
    """The cells of a `plan.json`; raises `ValueError` for a content that is none."""
    cells = plan.get("cells") if isinstance(plan, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it lists no cells")
    return tuple(_cell(entry) for entry in cells)


def _cell(entry: Any) -> Cell:
    if not isinstance(entry, dict):
        raise ValueError("a cell of it is no table")
    key, axes, stages = entry.get("key"), entry.get("axes", {}), entry.get("stages", {})
    if not isinstance(axes, dict) or not isinstance(stages, dict):
        raise ValueError("axes or stages of a cell are no table")
    for name in (key, *stages.values()):
        if not is_content_key(name):
            raise ValueError(f"{printable(str(name), 60)!r} is no content key")
    assert isinstance(key, str)
    return Cell(key, axes, stages)


def scorings_in(stages: Mapping[str, str]) -> list[str]:
    """What a record's stages call its scorings: score, and where some layers have their own, score_2, ..."""
    return [role for role in stages if _kind_of(role) == "score"]


def _kind_of(role: str) -> Kind | None:
    """What kind of stage a record's name stands for; None for what is no stage."""
    match = _SEVERAL.fullmatch(role)
    return _ROLES.get(role) or (_NUMBERED.get(match[1]) if match is not None else None)


def _title(kind: Kind, axes: Mapping[str, Any], role: str) -> str:
    """What a person calls a stage that a trial with these axes stands on."""
    data, model, seed = (axes.get(name) for name in ("dataset", "model", "seed"))
    network = f"{model} on {data}, seed {seed}"
    by = axes.get("scorer") if role == "score" else "the criterion of some layers"
    text = {
        "data": f"the data set {data}",
        "train": f"the dense model {network}",
        "trace": f"the training trace of {network}",
        "score": f"the scores by {by} of {network}",
        "metric": f"what a metric plugin measured on {network}",
        "round": f"a round of rewinding by {axes.get('scorer')} of {network}",
        "trial": f"the trial {axes.get('scorer')} at {axes.get('sparsity')} of {network}",
    }[kind]
    return printable(text, 300)
