"""A network as a model plugin built it, made one that can be trained and pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

from benchsuite.contracts.inputs import blank, described, take_by_name
from benchsuite.contracts.named_inputs import NamedInputs
from benchsuite.contracts.other_parameters import functional_call
from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import evaluating
from benchsuite.trials.exported_program import as_layers, is_exported

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.contracts.inputs import Inputs

Place = str | int
"""Where among several outputs the class scores stand: a name or a position."""

_SHOWN = 6


def usable(
    model: nn.Module,
    input_shape: tuple[int, ...] | NamedInputs,
    tell: Callable[[str], None] = lambda _: None,
) -> nn.Module:
    """The network that trains: without wrappers, initialised, in single precision.

    It takes inputs by name as one argument.

    Args:
        model: as `build` returned it; changed in place.
        input_shape: one sample's shape, or what inputs by name are like.
        tell: told in a sentence what was changed.

    Raises:
        Unsupported: it cannot be trained as it is; the sentence says what `build` should return.
    """
    model = _unwrapped(model)
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise Unsupported("the network is on the device meta and has no weights; build() must make them")
    if isinstance(model, torch.jit.ScriptModule):
        raise Unsupported(
            "the network is a TorchScript program, and its layers cannot be cut; the model's build() must "
            "return the network as it is without torch.jit"
        )
    if is_exported(model):
        model = as_layers(model)
        tell("the exported program is made a network of layers again, which has a training mode")
    if isinstance(input_shape, NamedInputs):
        take_by_name(model)
    model.train()
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        with evaluating(model), torch.no_grad():
            _run(model, blank(input_shape, 2))
        if any(isinstance(t, UninitializedParameter | UninitializedBuffer) for t in model.parameters()):
            raise Unsupported(
                "a lazy module of the network is not used in a forward pass, so it has no weights"
            )
    _to_single_precision(model, tell)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise Unsupported(
            "every parameter of the network is frozen, or it has none, so that neither training nor recovery "
            "would change it; let build() leave requires_grad where it should learn"
        )
    return model


def place_of_class_scores(
    model: nn.Module, inputs: Inputs, classes: int, wanted: Place | None = None
) -> Place | None:
    """Where the class scores stand in what a network returns; None if that is one tensor.

    A network may return more in training than in evaluation, as those with auxiliary heads do: both are
    looked at, and the outputs beside the class scores take no part in anything.

    Args:
        model: the network; it is left as it is.
        inputs: a few samples.
        classes: number of classes.
        wanted: the place that the model plugin names.

    Raises:
        Unsupported: it does not run, or nothing that it returns can be the class scores.
    """
    size = (len(inputs), classes)
    evaluation, training_pass = _Pass(model, inputs, training=False), _Pass(model, inputs, training=True)
    found = _place(evaluation.outputs, size, wanted)
    same = None if found is not None or wanted is not None else _same(evaluation, training_pass, size)
    training = _place(training_pass.outputs, size, wanted) if same is None else same
    if found is not None and training is not None and found != training:
        raise Unsupported(
            f"the network returns its class scores as output {found!r} in evaluation and as {training!r} in "
            "training; let the model plugin name one that is in both (`logits`)"
        )
    return training if found is None else found


def return_class_scores(model: nn.Module, place: Place | None) -> None:
    """Let the network return its class scores alone from now on."""
    if place is not None:
        model.register_forward_hook(_ClassScores(place))


@dataclass(frozen=True)
class _ClassScores:
    """A forward hook that takes one output of several; of a single tensor nothing is taken."""

    place: Place

    def __call__(self, _module: nn.Module, _inputs: Any, outputs: Any) -> Any:
        return None if isinstance(outputs, Tensor) else outputs[self.place]


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network without what runs it on several devices or compiles it, at every depth."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # of torch.compile
            model = inner
        else:
            break
    if getattr(model, "_compiled_call_impl", None) is not None:
        model._compiled_call_impl = None
    if not isinstance(model, torch.jit.ScriptModule):
        for name, child in model._modules.items():  # one under two names is taken off under both
            model._modules[name] = None if child is None else _unwrapped(child)
    return model


def _to_single_precision(model: nn.Module, tell: Callable[[str], None]) -> None:
    kinds = {tensor.dtype for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()}
    if others := sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32}):
        model.float()
        tell(
            f"weights of {' and '.join(others)} are float32 here, in which networks are trained and measured"
        )


def _run(model: nn.Module, inputs: Inputs, state: Mapping[str, Tensor] | None = None) -> Any:
    try:
        return model(inputs) if state is None else functional_call(model, dict(state), (inputs,))
    except Exception as error:
        # A network's own code can fail in any way.
        raise Unsupported(
            f"the network does not run: it is called with {_called_with(inputs)}, and raises "
            f"{type(error).__name__}: {error}"
        ) from error


def _called_with(inputs: Inputs) -> str:
    if isinstance(inputs, Tensor):
        return f"one tensor of shape {tuple(inputs.shape)}"
    return f"the keyword arguments {described(inputs)}"


class _Pass:
    """A forward pass with copies of the network's parameters and buffers, which is left as it is.

    Attributes:
        outputs: what the network returns.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, training: bool) -> None:
        modes = {module: module.training for module in model.modules()}
        self._parameters = {
            name: parameter.detach().clone().requires_grad_(parameter.requires_grad)
            for name, parameter in model.named_parameters()
        }
        state = {**self._parameters, **{name: buffer.clone() for name, buffer in model.named_buffers()}}
        try:
            with torch.random.fork_rng(devices=[]):
                self.outputs = _run(model.train(training), inputs, state)
        finally:
            for module, mode in modes.items():
                module.training = mode

    def parameters_in(self, output: Tensor) -> set[str]:
        """The names of the parameters that an output depends on."""
        learnt = {name: tensor for name, tensor in self._parameters.items() if tensor.requires_grad}
        if not output.requires_grad:
            return set()
        gradients = torch.autograd.grad(
            output.sum(), list(learnt.values()), retain_graph=True, allow_unused=True
        )
        return {name for name, gradient in zip(learnt, gradients, strict=True) if gradient is not None}


def _same(evaluation: _Pass, training: _Pass, size: tuple[int, int]) -> Place | None:
    """The place, in training, of what a network returns alone in evaluation; None if that is not seen.

    Of several outputs that it might be it is the only one that the same parameters have a part in.
    """
    if isinstance(training.outputs, Tensor):
        return None
    parts = evaluation.parameters_in(evaluation.outputs)
    by_place = _by_place(training.outputs)
    same = [
        place
        for place in _fitting(training.outputs, size)
        if training.parameters_in(by_place[place]) == parts
    ]
    return same[0] if len(same) == 1 else None


def _by_place(outputs: Any) -> dict[Place, Any]:
    if isinstance(outputs, Mapping):
        return dict(outputs.items())
    if isinstance(outputs, Sequence):
        return dict(enumerate(outputs))
    raise Unsupported(f"the network returns {type(outputs).__name__}, no tensor with its class scores")


def _fits(output: Any, size: tuple[int, int]) -> bool:
    return isinstance(output, Tensor) and output.shape == size


def _fitting(outputs: Any, size: tuple[int, int]) -> list[Place]:
    """The places that can be named of those where class scores may be."""
    return [p for p, output in _by_place(outputs).items() if isinstance(p, str | int) and _fits(output, size)]


def _place(outputs: Any, size: tuple[int, int], wanted: Place | None) -> Place | None:
    if isinstance(outputs, Tensor):
        if not _fits(outputs, size):
            raise Unsupported(
                f"the network returns a tensor of shape {tuple(outputs.shape)} for {size[0]} samples of "
                f"{size[1]} classes, where {size} is right: a score for each class"
            )
        return None
    by_place = _by_place(outputs)
    able = _fitting(outputs, size)
    named = "logits" if wanted is None and "logits" in able else wanted
    if named is not None and named in able:
        return named
    if named is None and (len(able) == 1 or (able and isinstance(outputs, Sequence))):
        return able[0]
    shapes = [
        f"{place!r}: {tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__}"
        for place, out in list(by_place.items())[:_SHOWN]
    ]
    which = "none" if not able else "more than one" if named is None else f"not {named!r}"
    raise Unsupported(
        f"of the network's outputs ({', '.join(shapes)}) {which} has the shape {size} of "
        "class scores; let the model plugin name the output (`logits`)"
    )
