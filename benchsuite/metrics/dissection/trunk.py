"""What everything passes through in a recorded forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchsuite.metrics.dissection.recording import Recording, Value


def leading_to_output(recording: Recording) -> list[Value]:
    """The values that the output is computed from, and the output."""
    wanted = {recording.output}
    for value in reversed(recording.values[: recording.output + 1]):
        if value.index in wanted:
            wanted.update(value.sources)
    return [value for value in recording.values if value.index in wanted]


def trunk(recording: Recording) -> list[Value]:
    """The values on every way from the input to the output: no edge of the graph jumps over them."""
    values = leading_to_output(recording)
    reach: dict[int, int] = {}  # by value, the last value that is computed from it
    for value in values:
        for source in value.sources:
            reach[source] = value.index
    trunk, furthest = [], 0
    for value in values:
        if furthest <= value.index:
            trunk.append(value)
        furthest = max(furthest, reach.get(value.index, 0))
    return trunk


def immediate_dominators(recording: Recording) -> list[int]:
    """By value, the last value before it that every way from the input to it passes through."""
    parents, depth = [0], [0]
    for value in recording.values[1:]:
        common, *others = value.sources
        for other in others:
            while common != other:
                if depth[common] < depth[other]:
                    other = parents[other]
                else:
                    common = parents[common]
        parents.append(common)
        depth.append(depth[common] + 1)
    return parents
