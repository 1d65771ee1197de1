"""How similarly criteria rank units: means over the seeds of each workload, similar criteria side by side."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchsuite_leaderboard.board import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from benchsuite.trials.agreement import Matrix as Plain
    from benchsuite.trials.agreement import NetworkAgreement

    Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbour:
    """A criterion compared with another one."""

    label: str
    tau: float
    overlap: float
    chance: float


@dataclass(frozen=True, eq=False)
class WorkloadAgreement:
    """Every pair of criteria on a workload.

    Attributes:
        pair: data set and model.
        seeds: number of dense networks.
        criteria: ordered so that similar ones are near each other.
        tau: (criteria, criteria), Kendall's tau-b, mean over seeds; NaN if it is not defined for any network.
        overlap: (criteria, criteria), the share of the top units in common.
        chance: (criteria, criteria), the overlap expected by chance.
    """

    pair: Workload
    seeds: int
    criteria: tuple[str, ...]
    tau: Matrix
    overlap: Matrix
    chance: Matrix

    def neighbours(self, row: int) -> list[Neighbour]:
        """The criteria that can be compared with that of a row, the most similar first."""
        others = [j for j in range(len(self.criteria)) if j != row and np.isfinite(self.tau[row, j])]
        return [
            Neighbour(
                self.criteria[j],
                float(self.tau[row, j]),
                float(self.overlap[row, j]),
                float(self.chance[row, j]),
            )
            for j in sorted(others, key=lambda j: -self.tau[row, j])
        ]

    @property
    def mean_tau(self) -> float | None:
        """The mean over all pairs of different criteria; None if no pair can be compared."""
        pairs = self.tau[np.triu_indices(len(self.criteria), 1)]
        pairs = pairs[np.isfinite(pairs)]
        return float(pairs.mean()) if len(pairs) else None


def workload_agreements(networks: Sequence[NetworkAgreement]) -> tuple[WorkloadAgreement, ...]:
    """Average the networks of each workload, by name; each pair over the networks where it was compared."""
    grouped: dict[Workload, list[NetworkAgreement]] = defaultdict(list)
    for network in networks:
        grouped[Workload(network.dataset, network.model)].append(network)
    return tuple(_average(pair, grouped[pair]) for pair in sorted(grouped))


def _average(pair: Workload, networks: Sequence[NetworkAgreement]) -> WorkloadAgreement:
    labels = sorted({label for network in networks for label in network.criteria})
    places = [[labels.index(label) for label in network.criteria] for network in networks]
    tau, overlap, chance = (
        _mean([getattr(network, name) for network in networks], places, len(labels))
        for name in ("tau", "overlap", "chance")
    )
    order = _alike_together(tau)
    at = np.ix_(order, order)
    return WorkloadAgreement(
        pair, len(networks), tuple(labels[i] for i in order), tau[at], overlap[at], chance[at]
    )


def _mean(matrices: Sequence[Plain], places: Sequence[list[int]], size: int) -> Matrix:
    stacked = np.full((len(matrices), size, size), np.nan)
    for layer, matrix, place in zip(stacked, matrices, places, strict=True):
        layer[np.ix_(place, place)] = np.array(matrix, dtype=np.float64)
    known = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        mean: Matrix = np.where(known, stacked, 0).sum(0) / known.sum(0)
    return mean


def _alike_together(tau: Matrix) -> list[int]:
    """The leaves of an average-linkage tree, ordered so that neighbours are as similar as possible."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(tau) < 3:
        return list(range(len(tau)))
    distance = 1 - np.nan_to_num(tau)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(i) for i in leaves_list(tree)]
