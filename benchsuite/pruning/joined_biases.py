"""Biases of queries, keys and values that are joined in every forward pass, made the bias of their layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import exact_float32
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning.folding import equal_outputs, run_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAMES = ("q_bias", "k_bias", "v_bias")


@dataclass(frozen=True)
class _Joined:
    """A module with a layer `qkv` without a bias, and with biases of its own for it."""

    module: nn.Module
    layer: nn.Linear
    biases: dict[str, Tensor | None]

    def join(self) -> None:
        learns = any(bias is not None and bias.requires_grad for bias in self.biases.values())
        parts = [bias for bias in self.biases.values() if bias is not None]
        whole = _whole([self.biases[name] for name in _NAMES], parts[0])
        self.layer.bias = nn.Parameter(whole.detach().clone(), learns)
        for name, bias in self.biases.items():
            if bias is not None:
                setattr(self.module, name, None)

    def divide(self) -> None:
        self.layer.bias = None  # type: ignore[assignment]  # torch's type forgets layers without a bias
        for name, bias in self.biases.items():
            if bias is not None:
                setattr(self.module, name, bias)


def join_biases(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Make `q_bias`, `k_bias` and `v_bias` of attentions the bias of their layer `qkv`, in place.

    BEiT (Bao et al. 2022) has none for keys, and puts zeros in its place: the layer is then called through a
    function, where it has neither units to score nor activations. Where an attention without the three calls
    its layer and computes the same, the layer gets their bias; elsewhere they stay.

    Args:
        model: the network; one without such biases is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        The names of the attentions that were changed.
    """
    found = {name: joined for name, module in model.named_modules() if (joined := _joined(module))}
    if not found:
        return ()
    with evaluating(model), torch.no_grad(), exact_float32():
        before = run_once(model, example[:1])
        for joined in found.values():
            joined.join()
        try:
            same = equal_outputs(before, run_once(model, example[:1]))
        except Unsupported:
            same = False
        if not same:
            for joined in found.values():
                joined.divide()
            return ()
    return tuple(found)


def joined_state(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """A state of the network as it was, by the names of its parameters once the biases are joined.

    Args:
        state: by name, tensors of the shape of the parameters.
        names: the attentions that were changed.
    """
    found = dict(state)
    for name in names:
        before = f"{name}." if name else ""
        parts = [found.pop(before + each, None) for each in _NAMES]
        known = [part for part in parts if part is not None]
        if known:
            found[f"{before}qkv.bias"] = _whole(parts, known[0])
    return found


def _whole(parts: list[Tensor | None], like: Tensor) -> Tensor:
    """The parts one after the other, zeros where there is none."""
    return torch.cat([torch.zeros_like(like) if part is None else part for part in parts])


def _joined(module: nn.Module) -> _Joined | None:
    layer, biases = getattr(module, "qkv", None), {name: getattr(module, name, None) for name in _NAMES}
    if type(layer) is not nn.Linear or layer.bias is not None:
        return None
    held = [bias for name, bias in biases.items() if isinstance(bias, nn.Parameter) and name != "k_bias"]
    sizes = {tuple(bias.shape) for bias in biases.values() if isinstance(bias, Tensor)}
    if len(held) != len(_NAMES) - 1 or sizes != {(layer.out_features // len(_NAMES),)}:
        return None
    return _Joined(module, layer, biases)
