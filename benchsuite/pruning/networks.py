"""A network that is being pruned, in one cut or in several: units removed, or weights masked."""

from __future__ import annotations

from benchsuite.pruning.base import Merges, NetworkState, PrunedNetwork, Vary
from benchsuite.pruning.masked import MaskedNetwork
from benchsuite.pruning.smaller import SmallerNetwork

__all__ = ["MaskedNetwork", "Merges", "NetworkState", "PrunedNetwork", "SmallerNetwork", "Vary"]
