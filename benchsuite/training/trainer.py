"""The training loop: no host synchronisation inside an epoch, and one CUDA graph per step on a GPU."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchsuite.contracts.inputs import memory_format_of
from benchsuite.errors import BenchsuiteError
from benchsuite.hardware.devices import exact_float32, searched_convolutions
from benchsuite.hardware.kernels import trusted_gradients
from benchsuite.training.finite import named, not_finite
from benchsuite.training.schedule import learning_rates
from benchsuite.training.step import Step, capture
from benchsuite.training.trace import TraceRecorder, TraceRequest, TrainingTrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from benchsuite.contracts.recipe import TrainingRecipe
    from benchsuite.training.data import DeviceDataset

_FEWEST_STEPS_WORTH_A_GRAPH = 20


@dataclass(frozen=True)
class TrainingLog:
    """What one training did.

    Attributes:
        losses: mean training loss of each epoch, the last of which may be a part of one.
        learning_rates: mean learning rate of each epoch.
        steps: optimisation steps made.
        steps_per_epoch: steps of a whole epoch.
        seconds: duration, capture of the CUDA graph included.
        captured: whether steps ran as a CUDA graph.
        trace: what was asked for with `trace`.
    """

    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    steps: int
    steps_per_epoch: int
    seconds: float
    captured: bool
    trace: TrainingTrace | None = None


def train(
    model: nn.Module,
    data: DeviceDataset,
    recipe: TrainingRecipe,
    *,
    seed: int,
    device: torch.device | str,
    epochs: float | None = None,
    first_step: int = 0,
    position: int = 0,
    after_step: Callable[[], None] | None = None,
    trace: TraceRequest | None = None,
) -> TrainingLog:
    """Train `model` in place on the training split, and leave its mode and memory layout as they were.

    Every step has the same number of samples: the recipe's batch size, or the whole split where that is
    smaller; what is left over in an epoch is dropped (another remainder each time). On a CPU the same
    seed and number of threads give the same bits, whatever the state of torch's global generator.

    Args:
        model: a network whose output has shape (samples, classes); it is moved to `device`.
        data: from `on_device`, on the same device.
        recipe: how to train.
        seed: decides the order of samples, augmentation and dropout.
        device: where to train.
        epochs: replaces the recipe's epochs; a fraction is rounded to steps, at least one; 0 trains nothing.
        first_step: where to begin in a training that was broken off: rates, samples and augmentation are
            those of the whole training's later steps; momentum begins anew, and dropout draws anew.
        position: of a training that is one of several in a row, the steps of those before it: it goes on with
            the samples, augmentation and dropout where they ended. Its rates are its own.
        after_step: called after each step to change weights in place, such as applying masks. It finds
            the weights through their modules, since this function may move their memory, and may only
            queue device work, because on a GPU it is recorded once and replayed.
        trace: what to record of the training's course.

    Raises:
        BenchsuiteError: the loss or a weight became infinite or not a number.
    """
    started = time.perf_counter()
    device = torch.device(device)
    epochs = recipe.epochs if epochs is None else epochs
    batch = min(recipe.batch_size, len(data.train))
    steps_per_epoch = len(data.train) // batch
    own_steps = total_steps(recipe.model_copy(update={"epochs": epochs}), len(data.train))
    steps, first_step = position + own_steps, position + first_step
    rates = [*[0.0] * position, *learning_rates(recipe, own_steps)]

    was_training = model.training
    model.to(device)
    model.to(memory_format=memory_format_of(data.train.inputs)).train()
    for parameter in model.parameters():
        if parameter.dim() != 4:
            parameter.data = parameter.data.contiguous()  # the fused optimiser takes memory for dense
    generator = torch.Generator().manual_seed(seed)
    recorder = None if trace is None else TraceRecorder(model, trace)
    losses: list[Tensor] = []
    captured = False
    rng_devices = [device] if device.type == "cuda" else []
    with (
        trusted_gradients(model, device),
        searched_convolutions(device, steps - first_step),
        exact_float32() if recipe.precision == "float32" else nullcontext(),
        torch.random.fork_rng(devices=rng_devices),
    ):
        # Dropout draws from the global generator; a drawn seed keeps it apart from the order of samples.
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)) + position)
        if own_steps > 0:
            step = Step(model, data, recipe, rates, batch, after_step, recorder, first_step)
            run: Callable[[], None] = step
            if device.type == "cuda" and steps - first_step >= _FEWEST_STEPS_WORTH_A_GRAPH:
                graph = capture(step, device)
                captured = graph is not None
                run = graph.replay if graph is not None else step
            for first in range(0, steps, steps_per_epoch):
                last = min(first + steps_per_epoch, steps)
                step.begin_epoch(generator)
                if last <= first_step:
                    continue  # its draws were made, so that those that follow are the whole training's
                for number in range(max(first, first_step), last):
                    run()
                    if recorder is not None:
                        recorder.keep_snapshot(number + 1)
                losses.append(step.loss / (last - max(first, first_step)))
                if recorder is not None:
                    recorder.after_epoch()
    model.zero_grad(set_to_none=True)
    model.to(memory_format=torch.contiguous_format).train(was_training)
    means = torch.stack(losses).tolist() if losses else []
    _check_finite(model, means, recipe)
    return TrainingLog(
        losses=tuple(means),
        learning_rates=tuple(
            math.fsum(part) / len(part)
            for first in range(0, steps, steps_per_epoch)
            if (part := rates[max(first, first_step) : first + steps_per_epoch])
        ),
        steps=max(0, steps - first_step),
        steps_per_epoch=steps_per_epoch,
        seconds=time.perf_counter() - started,
        captured=captured,
        trace=None if recorder is None else recorder.result(rates),
    )


def total_steps(recipe: TrainingRecipe, samples: int) -> int:
    """Return how many steps a recipe makes on a training split of that many samples."""
    steps_per_epoch = samples // min(recipe.batch_size, samples)
    return max(1, round(recipe.epochs * steps_per_epoch)) if recipe.epochs > 0 else 0


def _check_finite(model: nn.Module, losses: list[float], recipe: TrainingRecipe) -> None:
    advice = f"lower the learning rate (its peak is {recipe.learning_rate:g}) or lengthen the warm-up"
    for epoch, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            raise BenchsuiteError(f"training diverged: the mean loss of epoch {epoch} is {loss}; {advice}")
    if spoilt := not_finite(model):
        raise BenchsuiteError(
            f"training diverged: weights or statistics are no longer finite after the last step "
            f"({named(spoilt)}); {advice}"
        )
