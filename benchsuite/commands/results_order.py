"""The order of rows that `results --sort` asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from benchsuite.commands.aggregation import Group
    from benchsuite.store.record import TrialRecord

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """Names to sort by, the most important first, each with whether it runs from high to low."""

    names: tuple[tuple[str, bool], ...]

    def of_records(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """The records in this order."""

        def value(record: TrialRecord, name: str) -> Any:
            if name in ("key", "status"):
                return getattr(record, name)
            return record.axes[name] if name in record.axes else record.metrics.get(name)

        return self._sorted(records, value)

    def of_groups(self, groups: Sequence[Group]) -> list[Group]:
        """The groups in this order, by their means; by a metric with the partial ones last."""

        def value(group: Group, name: str) -> Any:
            if name in group.axes:
                return group.axes[name]
            return group.means[name] if name in group.means else getattr(group, name, None)

        found = self._sorted(groups, value)
        metrics = {name for group in groups for name in group.means}
        if any(name in metrics for name, _ in self.names[:1]):
            found.sort(key=lambda group: group.partial)
        return found

    def _sorted(self, rows: Sequence[T], value: Callable[[T, str], Any]) -> list[T]:
        found = list(rows)
        for name, falling in reversed(self.names):  # sorting is stable: the last sort decides first
            there = [row for row in found if value(row, name) not in (None, "")]
            absent = [row for row in found if value(row, name) in (None, "")]
            found = sorted(there, key=lambda row: _comparable(value(row, name)), reverse=falling) + absent
        return found


def _comparable(value: Any) -> tuple[int, float, str]:
    """Numbers before texts: an axis may have both, as sparsities have."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def parse_order(names: Iterable[str], headings: Mapping[str, str]) -> Order:
    """Names or headings of metrics, those from high to low with a minus."""
    plain = [(name.removeprefix("-"), name.startswith("-")) for name in names]
    return Order(tuple((headings.get(name, name), falling) for name, falling in plain))
