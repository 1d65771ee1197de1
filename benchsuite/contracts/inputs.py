"""A batch of a network's inputs: one tensor, or several by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchsuite.contracts.named_inputs import NamedInputs
from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import memory_format_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchsuite.contracts.named_inputs import Tokens


class TensorMap:
    """Inputs of the same samples by name, such as token ids and the mask of an attention.

    What is asked of a tensor of inputs it does for all its tensors at once: `len`, rows by a slice or by
    numbers, `split`, `to`. `inputs["input_ids"]` is one of them. A network takes it as one argument, and gets
    it as keyword arguments; for torch's functions over trees it is a tree of its tensors.

    Args:
        parts: by name, tensors of the same samples, the samples first.
        mask: the name of that one, (samples, steps), which says by 1 and 0 which positions count.
    """

    def __init__(self, parts: Mapping[str, Tensor], mask: str | None = None) -> None:
        self.parts = dict(parts)
        self.mask = mask

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: Any) -> Any:
        """One tensor by its name, or the samples that a slice or a tensor of numbers names."""
        if isinstance(rows, str):
            return self.parts[rows]
        if isinstance(rows, int):
            raise TypeError("one sample is a slice of one: inputs[3:4]")
        return self._each(lambda part: part[rows])

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("inputs by name are no sequence: take samples by slices, as in inputs[3:4]")

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self.parts.values())).device

    @property
    def kept(self) -> Tensor | None:
        """Which positions count, bool (samples, steps); None where all do."""
        return None if self.mask is None else self.parts[self.mask] != 0

    def whole(self) -> TensorMap:
        """The same where all positions count, as if no text were shorter than the longest."""
        parts = {n: torch.ones_like(part) if n == self.mask else part for n, part in self.parts.items()}
        return TensorMap(parts, self.mask)

    def shortened(self) -> TensorMap:
        """The same where the last position of each sample is padding, where it has others that count."""
        if self.mask is None:
            return self
        mask = self.parts[self.mask].clone()
        mask[(mask[:, :-1] != 0).any(1), -1] = 0
        return TensorMap({**self.parts, self.mask: mask}, self.mask)

    def to(self, *target: Any) -> TensorMap:
        """The same on a device, or its floats in another precision; ids and masks keep their type."""
        if len(target) == 1 and isinstance(target[0], torch.dtype):
            return self._each(lambda part: part.to(target[0]) if part.is_floating_point() else part)
        return self._each(lambda part: part.to(*target))

    def split(self, size: int) -> list[TensorMap]:
        """Parts of so many samples, the last of which may have fewer."""
        return [self[first : first + size] for first in range(0, len(self), size)]

    def index_select(self, dim: int, index: Tensor) -> TensorMap:
        """The samples of these numbers; `dim` is 0."""
        return self._each(lambda part: part.index_select(dim, index))

    def unsqueeze(self, dim: int) -> TensorMap:
        """With one more dimension, such as that of samples around a single one."""
        return self._each(lambda part: part.unsqueeze(dim))

    def detach(self) -> TensorMap:
        """Without history."""
        return self._each(Tensor.detach)

    def clone(self) -> TensorMap:
        """A copy."""
        return self._each(Tensor.clone)

    def cpu(self) -> TensorMap:
        """The same in the host's memory."""
        return self._each(Tensor.cpu)

    def _each(self, change: Any) -> TensorMap:
        return TensorMap({name: change(part) for name, part in self.parts.items()}, self.mask)


Inputs: TypeAlias = Tensor | TensorMap
"""What a batch is."""


def _flatten(inputs: TensorMap) -> tuple[list[Tensor], tuple[tuple[str, ...], str | None]]:
    return list(inputs.parts.values()), (tuple(inputs.parts), inputs.mask)


def _unflatten(leaves: Any, context: tuple[tuple[str, ...], str | None]) -> TensorMap:
    names, mask = context
    return TensorMap(dict(zip(names, leaves, strict=True)), mask)


pytree.register_pytree_node(TensorMap, _flatten, _unflatten)


def joined(parts: Sequence[Any]) -> Any:
    """The samples of several batches of one kind, one batch after the other."""
    first = parts[0]
    if isinstance(first, TensorMap):
        return TensorMap({n: torch.cat([p.parts[n] for p in parts]) for n in first.parts}, first.mask)
    return torch.cat(list(parts))


def tensors_of(inputs: Inputs) -> tuple[Tensor, ...]:
    """The tensors of a batch."""
    return tuple(inputs.parts.values()) if isinstance(inputs, TensorMap) else (inputs,)


def under_names(inputs: Inputs, name: str) -> dict[str, Tensor]:
    """The tensors of a batch as they are kept in a file: under the name, or as `name/part`."""
    if isinstance(inputs, TensorMap):
        return {f"{name}/{part}": tensor for part, tensor in inputs.parts.items()}
    return {name: inputs}


def from_names(
    tensors: Mapping[str, Tensor], name: str, parts: Sequence[str], mask: str | None = None
) -> Inputs:
    """What `under_names` made tensors of; `parts` are the names in their order, none for one tensor."""
    return TensorMap({part: tensors[f"{name}/{part}"] for part in parts}, mask) if parts else tensors[name]


def shape_of(inputs: Any, tokens: Tokens | None = None) -> tuple[int, ...] | NamedInputs:
    """One sample's shape, or what inputs by name are like."""
    if isinstance(inputs, TensorMap):
        shapes = {name: tuple(part.shape[1:]) for name, part in inputs.parts.items()}
        return NamedInputs(shapes, {name: part.dtype for name, part in inputs.parts.items()}, tokens)
    return tuple(inputs.shape[1:])


def described(inputs: Inputs) -> str:
    """What a person reads of a batch: its shape and type, of each tensor."""
    if isinstance(inputs, TensorMap):
        return ", ".join(f"{name} of shape {_described(part)}" for name, part in inputs.parts.items())
    return _described(inputs)


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} and type {str(tensor.dtype).removeprefix('torch.')}"


def memory_format_of(inputs: Inputs) -> torch.memory_format:
    """The fastest layout for a batch: channels last for images that come as one tensor."""
    return memory_format_for(inputs) if isinstance(inputs, Tensor) else torch.contiguous_format


def laid_out(inputs: Any) -> Any:
    """The batch in that layout."""
    if isinstance(inputs, TensorMap):
        return inputs
    return inputs.contiguous(memory_format=memory_format_of(inputs))


def example_of(inputs: Any) -> Any:
    """As few samples as an analysis of a network needs: one, or of inputs by name the first two that differ.

    Numbers can be changed into another sample; of token ids only the data set knows which ones are valid.
    """
    return joined([inputs[:1], inputs[_other(inputs)]]) if isinstance(inputs, TensorMap) else inputs[:1]


def another(example: Any) -> Any:
    """A sample that differs from the first of an example.

    Raises:
        Unsupported: inputs by name have no such sample.
    """
    if isinstance(example, TensorMap):
        return example[_other(example)]
    return 0.5 * example[:1].flip(-1) + 0.1


def _other(inputs: TensorMap) -> slice:
    """Where the first sample is that differs from the very first."""
    differs = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    for part in inputs.parts.values():
        differs |= (part != part[:1]).flatten(1).any(1)
    if not bool(differs.any()):
        raise Unsupported("a network whose inputs come by name is analysed with two samples that differ")
    first = int(differs.long().argmax())
    return slice(first, first + 1)


def random_like(example: Any, seed: int) -> Any:
    """An input of the same kind with random numbers for floats; whole numbers, such as ids, are kept."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(tensor: Tensor) -> Tensor:
        if isinstance(example, TensorMap) and not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator).to(tensor.device).to(tensor.dtype)

    return example._each(drawn) if isinstance(example, TensorMap) else drawn(example)


def twice(inputs: Any) -> Any:
    """Two samples for each one: a tensor with its negative, inputs by name with themselves."""
    return joined([inputs, inputs if isinstance(inputs, TensorMap) else -inputs])


def blank(shape: tuple[int, ...] | NamedInputs, samples: int) -> Inputs:
    """Samples of zeros, of a shape or of inputs by name."""
    if not isinstance(shape, NamedInputs):
        return torch.zeros(samples, *shape)
    parts = {n: torch.zeros(samples, *size, dtype=shape.types[n]) for n, size in shape.shapes.items()}
    return TensorMap(parts, None if shape.tokens is None else shape.tokens.mask)


def take_by_name(model: nn.Module) -> None:
    """Let a network take a `TensorMap` as the keyword arguments that its parts are."""
    model.register_forward_pre_hook(_by_name, with_kwargs=True)


def _by_name(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if len(args) == 1 and isinstance(args[0], TensorMap):
        return (), {**args[0].parts, **kwargs}
    return None
