"""One optimisation step on static tensors, and the CUDA graph of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.hardware.devices import supports_bf16
from benchsuite.training.data import draw_epoch, take_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from benchsuite.contracts.recipe import TrainingRecipe
    from benchsuite.training.data import DeviceDataset
    from benchsuite.training.trace import TraceRecorder

logger = logging.getLogger(__name__)

_WARM_UP_STEPS = 3


def by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that train and decay, and those that train and do not: biases, scales and shifts."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # In torch's own recurrent layers biases have one dimension.
    biases = {module.bias for module in model.modules() if isinstance(module, RecurrentLayer)}
    decayed = [p for p in trainable if p.dim() >= 2 and p not in biases]
    return decayed, [p for p in trainable if p.dim() < 2 or p in biases]


class Step:
    """One optimisation step that reads and writes only tensors which stay where they are.

    The step finds its place by a counter on the device, so that calling it needs nothing from the host
    and a CUDA graph of it can be replayed as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        data: DeviceDataset,
        recipe: TrainingRecipe,
        rates: list[float],
        batch: int,
        after_step: Callable[[], None] | None,
        recorder: TraceRecorder | None,
        first_step: int = 0,
    ) -> None:
        device = data.train.labels.device
        self._model, self._split, self._recipe = model, data.train, recipe
        self._after_step, self._recorder = after_step, recorder
        augmentation = data.augmentation
        active = recipe.augment and (augmentation.pad_crop > 0 or augmentation.flip)
        self._augmentation = augmentation if active else None
        self._shape = (len(data.train) // batch, batch)
        self._draws = torch.zeros((*self._shape, 4 if active else 1), dtype=torch.int64, device=device)
        self._rates = torch.tensor(rates, device=device)
        self._first_step = first_step
        self._number = torch.full((1,), first_step, dtype=torch.int64, device=device)
        self._rate = torch.zeros((), device=device)
        self.loss = torch.zeros((), device=device)
        """Sum of the losses of the epoch's steps so far."""
        self._autocast = torch.autocast(
            device.type,
            dtype=torch.bfloat16,
            enabled=recipe.precision == "auto" and supports_bf16(device),
            cache_enabled=False,  # a cached copy of a weight would be frozen into the graph
        )
        self._optimizer = self._make_optimizer()

    def _make_optimizer(self) -> torch.optim.SGD:
        decayed, others = by_decay(self._model)
        groups = [
            {"params": decayed, "weight_decay": self._recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        momentum = self._recipe.momentum
        optimizer = torch.optim.SGD(
            groups, momentum=momentum, nesterov=self._recipe.nesterov and momentum > 0, fused=True
        )
        for group in optimizer.param_groups:
            group["lr"] = self._rate
        return optimizer

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the epoch's batches on the CPU and send them over in one copy that nobody waits for."""
        steps, batch = self._shape
        draws = draw_epoch(len(self._split), steps, batch, self._augmentation, generator)
        if self._draws.is_cuda:
            draws = draws.pin_memory()
        self._draws.copy_(draws, non_blocking=True)
        self.loss.zero_()

    def __call__(self) -> None:
        """Take the step whose turn it is."""
        draws = self._draws.index_select(0, self._number % self._shape[0])[0]
        inputs, labels = take_batch(self._split, draws, self._augmentation)
        self._rate.copy_(self._rates.index_select(0, self._number)[0])
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast:
            outputs = self._model(inputs)
            loss = cross_entropy(outputs, labels, label_smoothing=self._recipe.label_smoothing)
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            if self._after_step is not None:
                self._after_step()
            if self._recorder is not None:
                self._recorder.after_step()
            self.loss += loss
            self._number += 1

    def state(self) -> list[Tensor]:
        """Copies of everything in the model that steps change."""
        return [tensor.detach().clone() for tensor in self._model_tensors()]

    def undo(self, state: list[Tensor]) -> None:
        """Put everything back, in place, to where it was when `state` was taken before the first step."""
        with torch.no_grad():
            for tensor, saved in zip(self._model_tensors(), state, strict=True):
                tensor.copy_(saved)
            for memory in self._optimizer.state.values():
                if memory.get("momentum_buffer") is not None:
                    # Zeros are as good as none: the first step adds the gradient to them.
                    memory["momentum_buffer"].zero_()
            self._number.fill_(self._first_step)
            self.loss.zero_()
        if self._recorder is not None:
            self._recorder.reset()

    def _model_tensors(self) -> list[Tensor]:
        return [*self._model.parameters(), *self._model.buffers()]


def capture(step: Step, device: torch.device) -> torch.cuda.CUDAGraph | None:
    """Record a step as a CUDA graph, or return None where that cannot be done.

    Recording takes a few real steps. Whatever they change is put back: weights, buffers, momentum,
    counters and the state of the random generator. At least four steps must be planned.
    """
    state, randomness = step.state(), torch.cuda.get_rng_state(device)
    generator = torch.cuda.default_generators[_index_of(device)]
    spare = generator.clone_state()
    graph = torch.cuda.CUDAGraph()
    captured = False
    with torch.cuda.device(device):
        current = torch.cuda.current_stream()
        side = torch.cuda.Stream(device)
        side.wait_stream(current)
        try:
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_STEPS):
                    step()
            current.wait_stream(side)
            with torch.cuda.graph(graph, stream=side):
                step()
            captured = True
        except RuntimeError as error:
            cause = error.__context__ or error  # the end of a broken recording fails too, and says less
            logger.warning("training steps run one by one: no CUDA graph could be made of them (%s)", cause)
        finally:
            # A recording that fails at its end leaves its own stream current.
            torch.cuda.set_stream(current)
    if captured:
        torch.cuda.set_rng_state(randomness, device)
    else:
        torch.cuda.synchronize(device)
        # The generator still takes itself to be recorded and would refuse the next draw.
        generator.graphsafe_set_state(spare)
    step.undo(state)
    return graph if captured else None


def _index_of(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
