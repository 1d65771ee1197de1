"""Verification by removal: each coupled group is tried on a network with random weights before it is used."""

from __future__ import annotations

import copy
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchsuite.contracts.inputs import random_like, twice
from benchsuite.errors import BenchsuiteError
from benchsuite.metrics.cost import count_macs
from benchsuite.pruning.surgery import (
    compare,
    computing_dtype,
    in_precision,
    remove_units,
    removed_entries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from torch import Tensor

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.layers import CoupledGroup
    from benchsuite.pruning.graph import PruningGraph

_SEED = 20240229
_LEAST, _MOST = 0.3, 0.67
_FEWEST = 2
"""Half of an odd number of channels is rounded, so one channel less may change nothing."""
_FEW = 12
"""Groups of so many positions or less are tried with other positions as well."""
_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, without what stands before the point, are far from each other."""


def failing_groups(
    twin: nn.Module, graph: PruningGraph, parted: Mapping[str, Collection[int]], example: Inputs
) -> dict[str, str]:
    """By name, the groups whose removal goes wrong, each with the reason; usually there are none.

    All groups are tried together; if that fails, each half of them, and so on. Groups that have parts of the
    same tensor are also tried without each other, since one may only be cut as much as the other.

    Args:
        twin: a copy of the network in evaluation mode; its weights are replaced by random ones.
        graph: the groups to try.
        parted: by group, the tensors of which it has a part.
        example: an input of one sample.
    """
    randomise(twin)
    return _Removals(twin, graph, parted, random_like(example, _SEED)).failing(graph.groups)


def undivided(
    twin: nn.Module, graph: PruningGraph, parted: Mapping[str, Collection[int]], example: Inputs
) -> frozenset[int]:
    """The tensors whose parts cannot be cut by equal numbers, since the network then does not run.

    Where the parts begin stands in its code as numbers. The arguments are those of `failing_groups`.
    """
    randomise(twin)
    probe = random_like(example, _SEED)
    by_tensor: dict[int, list[CoupledGroup]] = {}
    for group in graph.groups:
        for tensor in parted[group.name]:
            by_tensor.setdefault(tensor, []).append(group)
    every = [group for group in graph.groups if parted[group.name]]
    if _breakage(twin, graph, every, probe) is None:
        return frozenset()
    return frozenset(t for t, groups in by_tensor.items() if _breakage(twin, graph, groups, probe))


def randomise(model: nn.Module) -> None:
    """Give the network weights and statistics that all affect its output."""
    generator = torch.Generator().manual_seed(_SEED)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and parameter.numel() > max(parameter.shape):
                bound = (3 / parameter[0].numel()) ** 0.5
                uniform(parameter, -bound, bound)
            elif name.endswith("bias"):
                uniform(parameter, -0.2, 0.2)
            else:
                uniform(parameter, 0.5, 1.5)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
                assert module.running_var is not None
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.5, 1.5)


class _Removals:
    """Removes a part of the positions of some groups from the twin and checks the rest.

    What it computes is checked in the precision in which rounding errors are small, what it costs in its own:
    the network's cost was counted in that one.
    """

    def __init__(
        self, twin: nn.Module, graph: PruningGraph, parted: Mapping[str, Collection[int]], probe: Inputs
    ) -> None:
        self._as_built, self._example = copy.deepcopy(twin), probe
        dtype = computing_dtype(twin, probe)
        self._twin = twin = in_precision(twin, dtype)
        self._graph = graph
        self._parted = parted
        self._dtype = dtype
        self._probe = probe = probe.to(dtype)
        # Code for training alone, such as auxiliary classifiers, may read units or count them as well.
        self._trains = self._trains_at_all()

    def failing(self, groups: Sequence[CoupledGroup]) -> dict[str, str]:
        """Failing groups with their reasons; all others work together."""
        if self._failure(groups) is None:
            return {}
        # Finding the groups that stop the network from running is much cheaper than finding those that change
        # its output.
        single, probe = in_precision(copy.deepcopy(self._twin), torch.float32), self._probe.to(torch.float32)

        failing = _culprits(groups, lambda some: _breakage(single, self._graph, some, probe))
        found = _culprits([group for group in groups if group.name not in failing], self._failure)
        failing |= found
        working = [group for group in groups if group.name not in failing]
        if found and working and (reason := self._failure(working)) is not None:
            # They work separately but not together: none of them can be used.
            failing |= {group.name: reason for group in working}
        return failing

    def _tries(self, groups: Sequence[CoupledGroup]) -> Iterator[Mapping[str, Sequence[int]]]:
        """What to remove in turn: of all groups, of few positions others, of one part of a tensor alone."""
        every = _shares(groups)
        yield every
        # Of few positions the last ones alone may be gone by chance, which code that counts from 0 does with.
        few = [group for group in groups if group.size <= _FEW]
        if few:
            yield {group.name: tuple(group.size - 1 - p for p in every[group.name]) for group in few}
        numbers = self._numbers_of_parts(groups)
        for bit in range(max(numbers.values(), default=0).bit_length()):
            for value in (0, 1):
                yield {name: every[name] for name, number in numbers.items() if number >> bit & 1 == value}

    def _numbers_of_parts(self, groups: Sequence[CoupledGroup]) -> dict[str, int]:
        """A number for each group that has a part of a tensor, and another for each other group of it."""
        numbers: dict[str, int] = {}
        taken: dict[int, set[int]] = {}
        for group in groups:
            if tensors := self._parted[group.name]:
                used = set().union(*(taken.setdefault(tensor, set()) for tensor in tensors))
                numbers[group.name] = number = next(n for n in count() if n not in used)
                for tensor in tensors:
                    taken[tensor].add(number)
        return numbers

    def _failure(self, groups: Sequence[CoupledGroup]) -> str | None:
        """Why removing a part of the positions of these groups goes wrong, or None."""
        return next(filter(None, map(self._failure_of, self._tries(groups))), None)

    def _failure_of(self, removed: Mapping[str, Sequence[int]]) -> str | None:
        model = self._graph.cost_model
        predicted = model.cost(model.counts({name: len(positions) for name, positions in removed.items()}))
        try:
            pruned = remove_units(self._twin, self._graph, removed)
            compare(pruned, self._twin, removed_entries(self._graph, removed), self._probe, self._dtype)
            smaller = remove_units(self._as_built, self._graph, removed)
            counted = (sum(p.numel() for p in pruned.parameters()), count_macs(smaller, self._example).total)
        except BenchsuiteError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a network's code can break in any way when widths change
            return f"the pruned network does not run: {type(error).__name__}: {error}"
        if predicted != counted:
            return f"the pruned network has {counted} parameters and MACs where {predicted} were predicted"
        if self._trains and (reason := self._training_failure(pruned)) is not None:
            return f"the pruned network does not run in training mode: {reason}"
        return None

    def _trains_at_all(self) -> bool:
        """Whether the twin runs in training mode; it is as before afterwards, since copies may be large."""
        held = {name: (value, value.clone()) for name, value in self._twin.named_buffers()}
        failure = self._training_failure(self._twin)
        self._twin.eval()
        with torch.no_grad():
            for value, before in held.values():
                value.copy_(before)
        return failure is None

    def _training_failure(self, model: nn.Module) -> str | None:
        """Why a network does not run in training mode, or None; its mode and buffers are others then."""
        model.train()
        # One sample is not enough if a batch normalisation gets a map of one position.
        probe = twice(self._probe)
        devices = [probe.device] if probe.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices), torch.no_grad():
                model(probe)
        except Exception as error:  # noqa: BLE001 - likewise
            return f"{type(error).__name__}: {error}"
        return None


def _shares(groups: Sequence[CoupledGroup]) -> dict[str, tuple[int, ...]]:
    """Random positions of each group: a third to two thirds of them, of each another share.

    Equal shares would hide that a network cuts what is left of two groups in the middle, as `chunk` does. The
    first position and the last one are among them, which code may know by their numbers.
    """
    generator = torch.Generator().manual_seed(_SEED)
    shares = [_LEAST + (_MOST - _LEAST) * (number * _GOLDEN % 1) for number in range(len(groups))]
    counts = {
        group.name: min(group.size - 1, max(_FEWEST, int(group.size * share)))
        for group, share in zip(groups, shares, strict=True)
    }
    found = {}
    for group in groups:
        order = [0, group.size - 1, *torch.randperm(group.size, generator=generator).tolist()]
        found[group.name] = tuple(dict.fromkeys(order))[: counts[group.name]]
    return found


def _breakage(
    model: nn.Module, graph: PruningGraph, groups: Sequence[CoupledGroup], probe: Inputs
) -> str | None:
    """Why the network does not run without a part of the positions of these groups, or None."""
    try:
        pruned = remove_units(model, graph, _shares(groups))
        with torch.no_grad():
            pruned(probe)
    except BenchsuiteError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a network's code can break in any way when widths change
        return f"the pruned network does not run: {type(error).__name__}: {error}"
    return None


def _culprits(
    groups: Sequence[CoupledGroup], failure: Callable[[Sequence[CoupledGroup]], str | None]
) -> dict[str, str]:
    """The groups that cause the failure, found by halving, with the reasons."""
    if not groups or (reason := failure(groups)) is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: reason}
    middle = len(groups) // 2
    found = {**_culprits(groups[:middle], failure), **_culprits(groups[middle:], failure)}
    return found or {group.name: reason for group in groups}
