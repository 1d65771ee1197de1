"""Attentions that take the width of their heads from their input get a width of their own.

Much code divides the width of an attention's input among its heads and gives it to what they compute,
`reshape(samples, tokens, heads, width // heads)` and `reshape(samples, tokens, width)`. It cannot do with
fewer heads, nor with a narrower input. Where nothing of the input counts but its width and what queries, keys
and values are made of, the attention is given a stand-in of the right width, and these layers the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import exact_float32
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning.attention import attention_of
from benchsuite.pruning.folding import equal_outputs, run_once

if TYPE_CHECKING:
    from benchsuite.pruning.attention import Attention


@dataclass(eq=False)
class _StandIn:
    """What an attention is given in place of its input; called before its forward pass.

    Attributes:
        reader: name of the layer that reads what the heads give, and so is as wide as they are.
        always: whether also an input that has the right width is replaced, for a trial.
        wider: by how much a stand-in is wider, for a trial.
        given: the stand-in, while the attention runs.
        meant: the input that it stands for.
    """

    reader: str
    always: bool = False
    wider: int = 0
    given: Tensor | None = None
    meant: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        reader: Any = module.get_submodule(self.reader)
        if not inputs or not isinstance(inputs[0], Tensor) or inputs[0].ndim < 3:
            return None
        width, dim = reader.weight.shape[1] + self.wider, _channel_dim(reader)
        if inputs[0].shape[dim] == width and not self.always:
            return None
        shape = list(inputs[0].shape)
        shape[dim] = width
        self.meant = inputs[0]
        # In a trial nothing of it may reach the output; later nothing does.
        self.given = inputs[0].new_full((), float("nan") if self.always else 0.0).expand(shape)
        return self.given, *inputs[1:]


@dataclass(eq=False)
class _Meant:
    """Gives a layer that is called with the stand-in what it stands for; called before its forward pass."""

    stand_in: _StandIn

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not inputs or self.stand_in.given is None or inputs[0] is not self.stand_in.given:
            return None
        return self.stand_in.meant, *inputs[1:]


@dataclass(eq=False)
class _Over:
    """Forgets the stand-in; called after the attention's forward pass."""

    stand_in: _StandIn

    def __call__(self, *_: object) -> None:
        self.stand_in.given = self.stand_in.meant = None


def give_own_widths(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Let attentions whose width is taken from their input do with fewer heads and narrower inputs, in place.

    The dense network computes what it did, by the same operations. Attentions that use their input, but for
    its width, in another way than to make queries, keys and values of it stay as they are, and so do those
    that know their width.

    Args:
        model: the network; one without attentions is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        The names of the attentions that were changed.
    """
    found: dict[type[nn.Module], list[tuple[str, nn.Module, Attention]]] = {}
    for name, module in model.named_modules():
        if (attention := attention_of(module)) is not None:
            found.setdefault(type(module), []).append((name, module, attention))
    if not found:
        return ()
    changed: list[str] = []
    with evaluating(model), torch.no_grad(), exact_float32():
        before = run_once(model, example[:1])
        for alike in found.values():
            hooks = [_hooked(module, attention) for _, module, attention in alike]
            stand_ins = [stand_in for stand_in, _ in hooks]
            heads = [attention.heads for _, _, attention in alike]
            if _needed(model, example, before, stand_ins, heads) and _same(model, example, before, stand_ins):
                changed += [name for name, _, _ in alike]
                continue
            for _, handles in hooks:
                for handle in handles:
                    handle.remove()
    return tuple(changed)


def _hooked(module: nn.Module, attention: Attention) -> tuple[_StandIn, list[Any]]:
    stand_in = _StandIn(attention.reader)
    makers = [module.get_submodule(maker) for maker in attention.makers]
    return stand_in, [
        module.register_forward_pre_hook(stand_in),
        *(maker.register_forward_pre_hook(_Meant(stand_in)) for maker in makers),
        module.register_forward_hook(_Over(stand_in), always_call=True),
    ]


def _needed(
    model: nn.Module, example: Tensor, before: Any, stand_ins: list[_StandIn], heads: list[int]
) -> bool:
    """Whether stand-ins whose heads are all too wide by one change what the network computes."""
    for each, wider in zip(stand_ins, heads, strict=True):
        each.wider = wider
    return not _same(model, example, before, stand_ins)


def _same(model: nn.Module, example: Tensor, before: Any, stand_ins: list[_StandIn]) -> bool:
    """Whether stand-ins change nothing; they are as they shall be afterwards."""
    for each in stand_ins:
        each.always = True
    try:
        return equal_outputs(before, run_once(model, example[:1]))
    except Unsupported:
        return False
    finally:
        for each in stand_ins:
            each.always, each.wider = False, 0


def _channel_dim(layer: nn.Module) -> int:
    return -1 if isinstance(layer, nn.Linear) else 1
