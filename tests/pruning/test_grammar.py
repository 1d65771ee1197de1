"""Random networks, cut at random: what is left computes what a reference written apart says."""

from __future__ import annotations

import copy
import random
from collections import Counter
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch
from grammar import PRODUCTIONS, SIDE, Grower, masked
from pruning_networks import check_every_unit, gone_units

from benchsuite.errors import Collapsed, Unsupported
from benchsuite.pruning.group_scores import group_scores
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.selection import select_units
from benchsuite.pruning.settings import Budget, PruningSettings
from benchsuite.pruning.surgery import remove_units
from benchsuite.pruning.tracing.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

FEW, MANY = 50, 500
TARGETS = (0.6, 0.4, 0.2, 0.05)
"""Tried in turn: what a scope cannot reach, it may reach in part."""


def cut(seed: int) -> tuple[Counter[str], bool]:
    """What productions a network is of, and whether something of it was cut; checks what is left."""
    chance = random.Random(seed)
    grower = Grower(chance)
    network = grower.network()
    x = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        dense = network(x)
        assert torch.allclose(masked(network, x, {}), dense, rtol=1e-9, atol=1e-9), "the reference is wrong"
    plain = copy.deepcopy(network)
    make_plain(plain, x)
    graph = trace(plain, x)
    check_every_unit(graph)
    if not graph.groups:
        return grower.used, False
    scores = {
        layer.name: torch.from_numpy(np.random.default_rng(seed).random(layer.units))
        for layer in graph.layers
    }
    settings = PruningSettings(
        scope=chance.choice(["layer", "global", "protected"]), budget=chance.choice(get_args(Budget))
    )
    for target in TARGETS:
        try:
            chosen = select_units(graph, group_scores(graph, scores, settings), settings, target, seed)
            pruned = remove_units(plain, graph, chosen.removed)
        except (Collapsed, Unsupported):
            continue
        gone = gone_units(graph, chosen.removed)
        with torch.no_grad():
            found, expected = pruned(x), masked(network, x, gone)
        assert torch.allclose(found, expected, rtol=1e-8, atol=1e-8), (seed, network, chosen.removed)
        return grower.used, bool(gone)
    return grower.used, False


def check(seeds: range, record: Callable[[str, object], None]) -> None:
    in_networks, in_cut, cuts = Counter[str](), Counter[str](), 0
    for seed in seeds:
        used, is_cut = cut(seed)
        cuts += is_cut
        in_networks.update(used.keys())
        in_cut.update(used.keys() if is_cut else ())
    for name in PRODUCTIONS:
        record(name, f"in {in_networks[name]} networks, {in_cut[name]} of them cut")
    record("cut", f"{cuts} of {len(seeds)}")
    assert cuts >= 0.8 * len(seeds)
    if len(seeds) >= MANY:
        assert all(in_networks[name] >= 20 for name in PRODUCTIONS), in_networks
        assert all(in_cut[name] >= 0.8 * in_networks[name] for name in PRODUCTIONS), (in_cut, in_networks)


def test_random_networks_compute_what_is_left_of_them(record_property: Callable[[str, object], None]) -> None:
    check(range(FEW), record_property)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_random_networks(record_property: Callable[[str, object], None]) -> None:
    check(range(FEW, FEW + MANY), record_property)
