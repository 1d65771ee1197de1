"""The network of a finished trial: what is kept of it, and how it is made anew from that."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchsuite import stages
from benchsuite.dense import Bench, Dense, load_dense
from benchsuite.devices import exact_float32
from benchsuite.errors import BenchsuiteError
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning.surgery import remove_units
from benchsuite.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from benchsuite.tasks import Trial

_MODEL, _OUTPUTS, _HISTORY = "model.safetensors", "outputs.safetensors", "pruning.json"
_TOLERANCE = 1e-3
"""Largest difference of outputs that two devices may make, relative to the largest output."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """What a trial made of its dense model.

    Attributes:
        dense: the dense model.
        model: the pruned network with the weights that it ended with, in evaluation mode.
        removed: by coupled group of the dense network, the removed positions; empty for masks.
    """

    dense: Dense
    model: nn.Module
    removed: dict[str, tuple[int, ...]]


def keep_pruned(
    bench: Bench, trial: Trial, model: nn.Module, removed: Mapping[str, tuple[int, ...]], probe: Tensor
) -> int:
    """Leave in the trial's folder what `load_pruned` needs; return the size of the weights' file in bytes."""
    folder = bench.folder(trial.key)
    stages.save_tensors(folder / _MODEL, model.state_dict())
    stages.save_tensors(folder / _OUTPUTS, {"outputs": outputs_on(model, probe)})
    write_atomically(folder / _HISTORY, json.dumps({"axes": trial.axes, "removed": removed}, indent=1))
    return (folder / _MODEL).stat().st_size


def load_pruned(bench: Bench, trial: Trial) -> Pruned:
    """Make the network of a finished trial anew, from its dense model, the removed positions and its weights.

    Raises:
        BenchsuiteError: files are missing or damaged, or the network computes something else than in the
            trial, because benchsuite or the model's plugin has changed since.
    """
    folder = bench.folder(trial.key)
    dense = load_dense(bench, trial.dense)
    try:
        removed = json.loads((folder / _HISTORY).read_text("utf-8"))["removed"]
        removed = {name: tuple(positions) for name, positions in removed.items()}
    except (OSError, ValueError, KeyError) as error:
        raise BenchsuiteError(f"{folder / _HISTORY} cannot be read ({error}): run the trial again") from error
    changed = "has benchsuite or the model's plugin changed since?"
    try:
        model = remove_units(dense.model, dense.graph, removed)
        model.load_state_dict(stages.load_tensors(folder / _MODEL))
    except (KeyError, IndexError, RuntimeError) as error:
        raise BenchsuiteError(
            f"the weights of trial {trial.key} do not fit its network; {changed} ({error})"
        ) from error
    expected = stages.load_tensors(folder / _OUTPUTS)["outputs"]
    difference = relative_difference(outputs_on(model, dense.probe), expected)
    if not difference <= _TOLERANCE:
        raise BenchsuiteError(
            f"the network of trial {trial.key} was made anew, but its outputs differ by {difference:.2g} of "
            f"the largest from those in the trial; {changed}"
        )
    return Pruned(dense, model, removed)


def outputs_on(model: nn.Module, inputs: Tensor) -> Tensor:
    """The network's outputs in evaluation mode and float32, on the CPU."""
    with evaluating(model), torch.no_grad(), exact_float32():
        outputs: Tensor = model(inputs)
    return outputs.cpu()


def relative_difference(outputs: Tensor, expected: Tensor) -> float:
    """The largest absolute difference over the largest absolute value expected; NaN if there is one."""
    if outputs.shape != expected.shape:
        return float("inf")
    largest = float(expected.abs().max())
    return float((outputs - expected).abs().max()) / (largest or 1.0)
