"""Records grouped into boards: which trials may be compared, and under which names."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from benchsuite_leaderboard.board import Block, Board, BoardTrial, Criterion, DenseModel, Workload
from benchsuite_leaderboard.protocol import OWN_TARGETS, TARGETS, WIDTHS, Protocol, Sparsity, is_shared_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchsuite.store.record import TrialRecord

_SPARSITY_DIGITS = 12
_WRAPPERS = ("reversed", "shuffled", "scratch")


def boards(records: Sequence[TrialRecord]) -> tuple[Board, ...]:
    """The records as boards, the largest first; if several records have one key, the last counts."""
    latest = {record.key: record for record in records}.values()
    criteria = _criteria(latest)
    grouped: dict[Protocol, list[BoardTrial]] = defaultdict(list)
    for record in latest:
        axes, protocol = record.axes, _protocol(record)
        pair = Workload(as_text(axes, "dataset"), as_text(axes, "model"))
        trial = BoardTrial(
            record,
            criteria[_identity(axes)],
            Block(DenseModel(pair, as_text(axes, "seed")), sparsity_of(axes.get("sparsity"), protocol)),
            as_text(axes, "draw"),
        )
        grouped[protocol].append(trial)
    made = [Board(protocol, tuple(trials)) for protocol, trials in grouped.items()]
    return tuple(
        sorted(made, key=lambda board: (-len(board.trials), board.protocol.label, board.protocol.digest))
    )


def differing_settings(protocols: Iterable[Protocol], most: int = 4) -> dict[Protocol, str]:
    """The differences between protocols with the same label, as at most `most` pairs `name = value`."""
    flat = {protocol: flat_settings(protocol) for protocol in protocols}
    names = sorted({name for settings in flat.values() for name in settings})
    different = [n for n in names if len({settings.get(n, "unset") for settings in flat.values()}) > 1]
    rest = f" and {len(different) - most} more" if len(different) > most else ""
    return {
        protocol: ", ".join(f"{name} = {settings.get(name, 'unset')}" for name in different[:most]) + rest
        for protocol, settings in flat.items()
    }


def flat_settings(protocol: Protocol) -> dict[str, str]:
    """The settings by names with dots, as JSON; which layers lose how much is one of them, in words."""
    flat = dict(flatten_settings(json.loads(protocol.settings)))
    of_layers = ("pruning.widths", "pruning.layers", "pruning.keep")
    others = {n: v for n, v in flat.items() if not any(f"{n}.".startswith(f"{each}.") for each in of_layers)}
    return {**others, "pruning.layers": protocol.layers or "all"}


def flatten_settings(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as pairs of a name with dots and a value in JSON."""
    if isinstance(value, dict) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in flatten_settings(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, json.dumps(value, ensure_ascii=False))] if prefix else []


def _protocol(record: TrialRecord) -> Protocol:
    axes = record.axes
    return Protocol(
        granularity=as_text(axes, "granularity"),
        scope=as_text(axes, "scope"),
        budget=as_text(axes, "budget"),
        schedule=as_text(axes, "schedule"),
        recovery_epochs=as_text(axes, "recovery_epochs"),
        settings=json.dumps(record.settings, sort_keys=True, ensure_ascii=False, default=str),
    )


def as_text(axes: Mapping[str, Any], name: str) -> str:
    """An axis of a record as boards have it, 2.0 as 2; empty where the record has none."""
    value = axes.get(name)
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def sparsity_of(value: Any, protocol: Protocol) -> Sparsity:
    """The fraction as suites round theirs: files of earlier versions may have 0.30000000000000004 for 0.3."""
    if value == WIDTHS:
        # Without the widths nobody knows whether two criteria had the same.
        return WIDTHS if protocol.widths else "widths not stated"
    if value == TARGETS:
        shared = TARGETS if all(map(is_shared_target, protocol.targets.values())) else OWN_TARGETS
        return shared if protocol.targets else "layers not stated"
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return round(float(value), _SPARSITY_DIGITS)
    return "not stated" if value is None else str(value)


def _identity(axes: Mapping[str, Any]) -> tuple[str, str]:
    params = axes.get("scorer_params") or {}
    return as_text(axes, "scorer"), json.dumps(params, sort_keys=True, ensure_ascii=False, default=str)


def _criteria(records: Iterable[TrialRecord]) -> dict[tuple[str, str], Criterion]:
    identities = sorted({_identity(record.axes) for record in records})
    variants: dict[str, list[str]] = defaultdict(list)
    for scorer, params in identities:
        variants[scorer].append(params)
    made = {}
    for scorer, params in identities:
        suffix = _suffix(params, variants[scorer])
        wrapper, inner = _unwrap(scorer)
        label = scorer + suffix
        made[scorer, params] = Criterion(label, scorer, wrapper, inner and inner + suffix)
    return made


def _suffix(params: str, variants: list[str]) -> str:
    """The parameters in which a setting of a scorer differs from the others, in square brackets."""
    if len(variants) == 1:
        return ""
    flat = [dict(flatten_settings(json.loads(variant))) for variant in variants]
    own = dict(flatten_settings(json.loads(params)))
    names = sorted({name for variant in flat for name in variant})
    different = [n for n in names if len({variant.get(n, "default") for variant in flat}) > 1]
    pairs = ", ".join(f"{name}={own.get(name, 'default')}" for name in different)
    # Parameters that are not a table have no names by which they can be distinguished.
    return f" [{pairs or params}]"


def _unwrap(scorer: str) -> tuple[str | None, str | None]:
    for wrapper in _WRAPPERS:
        if scorer.startswith(f"{wrapper}(") and scorer.endswith(")"):
            return wrapper, scorer[len(wrapper) + 1 : -1]
    return None, None
