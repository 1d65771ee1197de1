"""Attentions that take the width of their heads from their input get a width of their own.

Much code divides the width of an attention's input among its heads and gives it to what they compute,
`reshape(samples, tokens, heads, width // heads)` and `reshape(samples, tokens, width)`. It cannot do with
fewer heads, nor with a narrower input. Where nothing of the input counts but its width and what queries, keys
and values are made of, the attention is given a stand-in of the right width, and these layers the input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite.pruning.attention import attention_of
from benchsuite.pruning.trial_change import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchsuite.contracts.inputs import Inputs


class _ShapeAlone(Tensor):
    """A tensor of which only the shape may be asked: whatever else is done with it is an error."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        only_like = func in _LIKE_ANOTHER and not isinstance(args[0], cls)
        if func not in _OF_SHAPE and not only_like:
            raise TypeError(f"an attention uses its input: {func}")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


_PROPERTIES = ("shape", "ndim", "dtype", "device", "layout", "is_cuda", "is_nested", "requires_grad")
_OF_SHAPE = {
    *(getattr(Tensor, name).__get__ for name in _PROPERTIES),
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.get_device, Tensor.is_floating_point),
    *(Tensor.new_zeros, Tensor.new_ones, Tensor.new_empty, Tensor.new_full, Tensor.new_tensor),
    *(torch.zeros_like, torch.ones_like, torch.empty_like),
}
_LIKE_ANOTHER = {Tensor.reshape_as, Tensor.view_as, Tensor.expand_as, Tensor.type_as, Tensor.to}


@dataclass(eq=False)
class _StandIn:
    """What an attention is given in place of its input; called before its forward pass.

    Attributes:
        reader: name of the layer that reads what the heads give, and so is as wide as they are.
        wider: by how much a stand-in is wider, for a trial.
        strict: whether every input is replaced, and by what only its shape may be asked of, for a trial.
    """

    reader: str
    wider: int = 0
    strict: bool = False
    _held: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By thread in which the attention runs, the stand-in and the input that it stands for."""
    _last: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        reader = self._reader_of(module)
        if not inputs or not isinstance(inputs[0], Tensor) or inputs[0].ndim < 3:
            return None
        width, dim = reader.weight.shape[1] + self.wider, _channel_dim(reader)
        if inputs[0].shape[dim] == width and not self.strict:
            return None
        given = self._zeros(inputs[0], dim, width)
        given = given.as_subclass(_ShapeAlone) if self.strict else given
        self._held[get_ident()] = given, inputs[0]
        return given, *inputs[1:]

    def _zeros(self, like: Tensor, dim: int, width: int) -> Tensor:
        """A stand-in of that width; that of the last call if it fits, since making it takes time."""
        shape = list(like.shape)
        shape[dim] = width
        # What a program is recorded with is of no use outside of the recording, and asks nothing here.
        plain, last = type(like) is Tensor, self._last
        kind = like.dtype, like.device
        if plain and last is not None and (last.dtype, last.device) == kind and list(last.shape) == shape:
            return last
        made = torch.zeros((), dtype=like.dtype, device=like.device).expand(shape)
        if plain and type(made) is Tensor:
            self._last = made
        return made

    def _reader_of(self, module: nn.Module) -> Any:
        found: Any = module._modules.get(self.reader)  # what is a child is found at once
        return module.get_submodule(self.reader) if found is None else found

    def meant(self, given: object) -> Tensor | None:
        """The input that a stand-in stands for; None of anything else."""
        stand_in, meant = self._held.get(get_ident(), (None, None))
        return meant if stand_in is given else None

    def end(self) -> None:
        """The attention has run."""
        self._held.pop(get_ident(), None)


@dataclass(eq=False)
class _Meant:
    """Gives a layer that is called with the stand-in what it stands for; called before its forward pass."""

    stand_in: _StandIn

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        meant = self.stand_in.meant(inputs[0]) if inputs else None
        return None if meant is None else (meant, *inputs[1:])


@dataclass(eq=False)
class _Over:
    """Forgets the stand-in; called after the attention's forward pass."""

    stand_in: _StandIn

    def __call__(self, *_: object) -> None:
        self.stand_in.end()


def give_own_widths(model: nn.Module, example: Inputs) -> tuple[str, ...]:
    """Let attentions whose width is taken from their input do with fewer heads and narrower inputs, in place.

    The dense network computes what it did, by the same operations. Attentions that use their input, but for
    its shape, in another way than to make queries, keys and values of it stay as they are, be it in training
    alone, and so do those that know their width.

    Args:
        model: the network; one without attentions is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        The names of the attentions that were changed.
    """
    found: dict[type[nn.Module], list[str]] = {}
    for name, module in model.named_modules():
        if attention_of(module) is not None:
            found.setdefault(type(module), []).append(name)
    if not found:
        return ()
    trial = Trial(model, example)
    changed: list[str] = []
    for alike in found.values():
        if not trial.holds(alike, _widen_too_much):
            changed += trial.possible(alike, _widen_strictly)
    widen(model, changed)
    return tuple(changed)


def widen(model: nn.Module, names: Sequence[str], *, wider: bool = False, strict: bool = False) -> None:
    """Give the attentions of these names a width of their own, in place; see `_StandIn` for trials of it."""
    for name in names:
        module = model.get_submodule(name)
        attention = attention_of(module)
        assert attention is not None
        stand_in = _StandIn(attention.reader, attention.heads if wider else 0, strict)
        module.register_forward_pre_hook(stand_in)
        for maker in attention.makers:
            module.get_submodule(maker).register_forward_pre_hook(_Meant(stand_in))
        module.register_forward_hook(_Over(stand_in), always_call=True)


def _widen_too_much(model: nn.Module, names: Sequence[str]) -> None:
    """Where this changes nothing, the width of the input does not count."""
    widen(model, names, wider=True)


def _widen_strictly(model: nn.Module, names: Sequence[str]) -> None:
    """Where this changes nothing, nothing but the width of the input counts."""
    widen(model, names, strict=True)


def _channel_dim(layer: nn.Module) -> int:
    return -1 if isinstance(layer, nn.Linear) else 1
