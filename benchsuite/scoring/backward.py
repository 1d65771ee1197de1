"""Backward passes over a network's batches, for gradients of parameters and of activations at once."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchsuite.contracts.other_parameters import functional_call
from benchsuite.scoring.gates import GateWatcher
from benchsuite.scoring.gradients import GradientBatch
from benchsuite.scoring.padding import counted, kept_positions
from benchsuite.scoring.points import as_maps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchsuite.scoring.gradients import GradientStatistic
    from benchsuite.scoring.sampled_network import SampledNetwork


def gradient_batches(
    network: SampledNetwork, *, activations: bool, gates: bool = False, batch_size: int | None = None
) -> Iterator[GradientBatch]:
    """Yield for each batch the gradients of its mean loss, from one forward and one backward pass.

    Args:
        network: the network and its samples.
        activations: also yield activation maps and their gradients.
        gates: also yield the groups' gates.
        batch_size: samples per pass; by default the network's.
    """
    parameters = network.leaf_parameters()
    detached = {name: value.detach() for name, value in parameters.items()}
    of_batches = -(-network.samples // (batch_size or network.batch_size))
    for inputs, labels in network.batches(batch_size):
        watcher = _Watcher(network, len(labels))
        at_readers = GateWatcher(network.gate_places if gates else {}, len(labels))
        with (
            network.reading(watcher.watch) if activations else nullcontext(),
            at_readers.attached(network.model),
        ):
            outputs = functional_call(network.model, parameters, (inputs,))
        gradients = torch.autograd.grad(
            network.loss(outputs, labels),
            list(parameters.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        pairs, kept = watcher.pairs(), kept_positions(inputs)
        of_layers = {
            n: counted(network.layer(n).module, maps.shape[2:], kept) for n, (maps, _) in pairs.items()
        }
        yield GradientBatch(
            layers=network.layers,
            granularity=network.granularity,
            parameters=detached,
            gradients=dict(zip(parameters, gradients, strict=True)),
            activations=pairs,
            groups=network.groups,
            gates=at_readers.gates(),
            samples=len(labels),
            of_samples=network.samples,
            of_batches=of_batches,
            counting={name: places for name, places in of_layers.items() if places is not None},
        )


def sum_statistics(
    network: SampledNetwork, statistics: Sequence[GradientStatistic]
) -> list[dict[str, Tensor]]:
    """Return each statistic's sum over the batches by layer or group; each batch has one backward pass."""
    totals: list[dict[str, Tensor]] = [{} for _ in statistics]
    activations = any(statistic.reads_activations for statistic in statistics)
    gates = any(statistic.reads_gates for statistic in statistics) and network.granularity == "unit"
    for batch in gradient_batches(network, activations=activations, gates=gates):
        for statistic, total in zip(statistics, totals, strict=True):
            for name, term in statistic(batch).items():
                total[name] = total[name] + term if name in total else term
    return totals


class _Watcher:
    """Keeps one batch's activation maps and, after the backward pass, their gradients."""

    def __init__(self, network: SampledNetwork, samples: int) -> None:
        self._network, self._samples = network, samples
        self._maps: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}

    def watch(self, name: str, tensor: Tensor) -> None:
        if self._network.layer(name).kind == "recurrent":
            return  # what its units do from step to step is not in the gradient of its output
        # Copied, since a later operation may overwrite it in place.
        self._maps[name] = self._ordered(name, tensor.detach().clone())
        tensor.register_hook(partial(self._keep, name))

    def _keep(self, name: str, gradient: Tensor) -> None:
        # The mean loss is the sum of the samples' losses divided by their number, and only a sample's own
        # loss depends on its activations.
        self._gradients[name] = self._ordered(name, gradient) * self._samples

    def _ordered(self, name: str, tensor: Tensor) -> Tensor:
        return as_maps(self._network.layer(name), tensor, self._samples)

    def pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return maps and gradients by layer; zero gradients where the loss does not depend on the maps."""
        return {
            name: (maps, self._gradients.get(name, torch.zeros_like(maps)))
            for name, maps in self._maps.items()
        }
