"""How often each claim of a board is true, over many simulated boards whose truth is known.

Run as a script, it prints the table of docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchsuite_leaderboard.board import Block, Criterion, DenseModel, Workload
from benchsuite_leaderboard.statistics.contest import contest
from benchsuite_leaderboard.statistics.critical_difference import critical_difference
from benchsuite_leaderboard.statistics.intervals import Estimate, Limits, accuracy_interval, usual_shares
from benchsuite_leaderboard.verdicts import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SPREAD = 0.03
LEAD = 0.05
LIMITS = Limits(chance=0.1, near=0.1375, top=0.85)
RECOVERED = 0.8


@dataclass(frozen=True)
class Rate:
    """How often something happened in so many simulated boards."""

    happened: float
    of: int

    @property
    def share(self) -> float:
        return self.happened / self.of

    @property
    def error(self) -> float:
        """Two standard errors of the share, with room for shares near 0 and 1."""
        return 2 * float(np.sqrt(max(self.share * (1 - self.share), 0.02) / self.of))


Shape = tuple[int, int, int]
"""Criteria, workloads, seeds."""


def even(generator: np.random.Generator, shape: Shape) -> Floats:
    """Equal criteria with one spread; the networks of a seed share their luck."""
    luck = 0.05 * generator.standard_normal((1, *shape[1:]))
    return luck + SPREAD * generator.standard_normal(shape)


def uneven(generator: np.random.Generator, shape: Shape) -> Floats:
    """Equal criteria, some of which vary more than others."""
    return even(generator, shape) * np.exp(0.7 * generator.standard_normal((shape[0], 1, 1)))


def interacting(generator: np.random.Generator, shape: Shape) -> Floats:
    """Criteria that are equal over these workloads, while each suits some of them better."""
    suits = SPREAD * generator.standard_normal((*shape[:2], 1))
    return even(generator, shape) + suits - suits.mean(axis=1, keepdims=True)


def crowded(generator: np.random.Generator, shape: Shape, at_chance: float = 0.7) -> Floats:
    """Equal criteria whose networks are at chance in most cells."""
    values = RECOVERED + SPREAD * generator.standard_normal(shape)
    values[generator.random(shape) < at_chance] = LIMITS.chance
    return values


KINDS: dict[str, Callable[[np.random.Generator, Shape], Floats]] = {
    "one spread": even,
    "unequal spreads": uneven,
    "interaction": interacting,
    "70% at chance": crowded,
}
SHAPES = ((1, 3), (2, 3), (3, 3), (7, 3), (1, 5), (3, 5))
"""Workloads and seeds."""


def _judged(values: Floats, control: Floats | None = None) -> tuple[NDArray[np.bool_], float]:
    criteria, workloads, seeds = values.shape
    found = contest(
        values.reshape(criteria, -1),
        [w for w in range(workloads) for _ in range(seeds)],
        None if control is None else control.reshape(-1),
        at_chance=float((values <= LIMITS.near).mean()) if values.min() == LIMITS.chance else 0.0,
        draws=400,
        # Not the same draws for all boards: what few of them miss then differs from board to board.
        seed=int.from_bytes(values.tobytes()[:4], "little"),
    )
    assert found.may_be_best is not None
    highest = int(values.reshape(criteria, -1).mean(axis=1).argmax())
    return found.may_be_best, 1.0 if found.p_control is None else float(found.p_control[highest])


@cache
def holds_the_best(kind: str, workloads: int, seeds: int, criteria: int = 25, boards: int = 300) -> Rate:
    """Among equal criteria each is a best one; how often the first is in the set."""
    generator = np.random.default_rng([1, workloads, seeds])
    held = [bool(_judged(KINDS[kind](generator, (criteria, workloads, seeds)))[0][0]) for _ in range(boards)]
    return Rate(sum(held), boards)


@cache
def holds_the_best_with_gaps(lost: str, workloads: int, seeds: int, boards: int = 300) -> Rate:
    """The same of a column with gaps: 3% of the cells at random, or those of the networks with bad luck.

    The first of ten criteria is the one that loses networks with bad luck, the half of them in one workload.
    """
    generator = np.random.default_rng([6, workloads, seeds])
    names = [Criterion(f"c{i}", f"c{i}") for i in range(10)]
    networks = [DenseModel(Workload("d", f"m{w}"), str(s)) for w in range(workloads) for s in range(seeds)]
    blocks = [Block(network, 0.5) for network in networks]
    held = 0
    for _ in range(boards):
        values = even(generator, (len(names), workloads, seeds))
        gone = np.zeros_like(values, dtype=np.bool_)
        if lost == "at random":
            gone = generator.random(values.shape) < 0.03
        else:
            luck = values.mean(axis=0)
            gone[0] = luck < np.median(luck)
        flat, lacking = values.reshape(len(names), -1), gone.reshape(len(names), -1)
        column = {
            c: {b: float(v) for b, v, g in zip(blocks, row, out, strict=True) if not g}
            for c, row, out in zip(names, flat, lacking, strict=True)
        }
        found = judge(column, blocks, None, near_chance={}, estimate=lambda _, v: Estimate(0.0, len(v)))
        assert found is not None
        assert found.may_be_best is not None
        # One that lacks too much is said to be no part of the comparison: that is no claim about it.
        held += names[0] not in found.places or names[0] in found.may_be_best
    return Rate(held, boards)


@cache
def tells_apart(kind: str, workloads: int, seeds: int, criteria: int = 25, boards: int = 100) -> Rate:
    """The first leads all others by `LEAD`; the share of these that are told apart from it."""
    generator = np.random.default_rng([2, workloads, seeds])
    told = 0.0
    for _ in range(boards):
        values = KINDS[kind](generator, (criteria, workloads, seeds))
        values[0] += LEAD
        told += float((~_judged(values)[0][1:]).mean())
    return Rate(told, boards)


@cache
def beats_random(
    kind: str, workloads: int, seeds: int, lead: float, criteria: int = 25, boards: int = 300
) -> Rate:
    """How often the best is said to beat random if all criteria lead it by so much."""
    generator = np.random.default_rng([3, workloads, seeds])
    said = 0
    for _ in range(boards):
        values = KINDS[kind](generator, (criteria + 1, workloads, seeds))
        values[:criteria] += lead
        said += _judged(values[:criteria], values[criteria])[1] < 0.05
    return Rate(said, boards)


@cache
def calls_a_noisy_one_better(
    workloads: int, seeds: int, noisy: int = 4, others: int = 8, boards: int = 300
) -> Rate:
    """How often a criterion that equals random is said to be better, beside a steady one that is."""
    generator = np.random.default_rng([7, workloads, seeds])
    said = 0
    for _ in range(boards):
        values = even(generator, (noisy + 1 + others + 1, workloads, seeds))
        values[:noisy] += 0.15 * generator.standard_normal((noisy, workloads, seeds))
        values[noisy] += 2 * LEAD
        means = values[:-1].mean(axis=(1, 2))
        said += int(means.argmax()) != noisy and _judged(values[:-1], values[-1])[1] < 0.05
    return Rate(said, boards)


@cache
def holds_a_steady_one(workloads: int, seeds: int, criteria: int = 10, boards: int = 300) -> Rate:
    """How often a steady best criterion is in the set beside one that is higher, and fails once in ten.

    The rival has 0.9 or, as a network at chance, 0.1, so that its mean is 0.82; the best one has 0.85.
    """
    generator = np.random.default_rng([8, workloads, seeds])
    held = 0
    for _ in range(boards):
        values = 0.7 + 0.01 * generator.standard_normal((criteria, workloads, seeds))
        values[0] += 0.15
        values[1] = np.where(generator.random((workloads, seeds)) < 0.1, LIMITS.chance, values[1] + 0.2)
        held += bool(_judged(values)[0][0])
    return Rate(held, boards)


@cache
def covers(at_chance: float, workloads: int, seeds: int, criteria: int = 25, boards: int = 100) -> Rate:
    """How often a cell's interval holds the true mean."""
    generator = np.random.default_rng([4, workloads, seeds])
    truth = at_chance * LIMITS.chance + (1 - at_chance) * RECOVERED
    held = 0
    for _ in range(boards):
        values = crowded(generator, (criteria, workloads, seeds), at_chance)
        recovered = (values > LIMITS.near).sum(axis=2)
        limits = [
            replace(LIMITS, recovered=usual_shares([(int(k), seeds) for k in recovered[:, w]]))
            for w in range(workloads)
        ]
        for cells in values:
            found = accuracy_interval(cells.tolist(), limits)
            assert found is not None
            assert found.low is not None
            assert found.high is not None
            assert 0 <= found.low < found.high <= 1
            assert found.low <= found.mean <= found.high
            held += found.low <= truth <= found.high
    return Rate(held, boards * criteria)


@cache
def friedman_rejects(workloads: int, seeds: int, criteria: int = 10, boards: int = 500) -> Rate:
    """How often equal criteria are told apart that suit each workload differently."""
    generator = np.random.default_rng([5, workloads, seeds])
    rejected = 0
    for _ in range(boards):
        suits = SPREAD * generator.standard_normal((criteria, workloads, 1))
        values = even(generator, (criteria, workloads, seeds)) + suits
        found = critical_difference(values.mean(axis=2))
        assert found is not None
        rejected += found.p < 0.05
    return Rate(rejected, boards)


def table() -> list[tuple[str, ...]]:
    """Claim, kind of board, nominal rate, and the actual one for each number of workloads and seeds."""
    rows: list[tuple[str, ...]] = []

    def add(claim: str, kind: str, nominal: str, rate: Callable[[int, int], Rate]) -> None:
        rows.append((claim, kind, nominal, *(f"{rate(w, s).share:.2f}" for w, s in SHAPES)))

    for kind in KINDS:
        add("the set holds the best", kind, "≥ .95", lambda w, s, k=kind: holds_the_best(k, w, s))
    for lost in ("at random", "with bad luck"):
        add(
            "the set holds the best",
            f"cells lost {lost}",
            "≥ .95",
            lambda w, s, k=lost: holds_the_best_with_gaps(k, w, s),
        )
    add("the set holds the best", "a rival that seldom fails", "not kept", holds_a_steady_one)
    for kind in ("one spread", "unequal spreads"):
        add("5 points are told apart", kind, "power", lambda w, s, k=kind: tells_apart(k, w, s))
    for kind in KINDS:
        add(
            "“better than random” is wrong",
            kind,
            "≤ .05",
            lambda w, s, k=kind: beats_random(k, w, s, 0.0),
        )
    add("“better than random” is wrong", "four noisy, one better", "≤ .05", calls_a_noisy_one_better)
    for kind in ("one spread", "unequal spreads"):
        add(
            "“better than random” at 5 points",
            kind,
            "power",
            lambda w, s, k=kind: beats_random(k, w, s, LEAD),
        )
    for share in (0.0, 0.3, 0.7, 0.95):
        add(
            "the interval holds the mean",
            f"{share:.0%} at chance",
            "≥ .95",
            lambda w, s, c=share: covers(c, w, s),
        )
    return rows


if __name__ == "__main__":
    heads = ("claim", "boards", "nominal", *(f"{w} × {s}" for w, s in SHAPES))
    for row in (heads, ("---",) * len(heads), *table()):
        print("| " + " | ".join(row) + " |")  # noqa: T201 - this is its output
