"""Fixed stratified splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLIT_SEED = 20_230_801
"""Seed of every split; changing it changes every result."""


def stratified_split(labels: NDArray[np.int64], fraction: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the remaining samples and of those held out, both ascending.

    The fraction `fraction` of each class (rounded, at least one, never all) is held out: the first samples of
    a permutation drawn class by class, in label order, from `numpy.random.default_rng(SPLIT_SEED)`.
    """
    generator = np.random.default_rng(SPLIT_SEED)
    held: list[NDArray[np.intp]] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.append(members[:count])
    held_out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out
