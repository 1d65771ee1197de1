"""Biases of queries, keys and values that are joined in every forward pass, made the bias of their layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchsuite.pruning.trial_change import change_where_possible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchsuite.contracts.inputs import Inputs

_NAMES = ("q_bias", "k_bias", "v_bias")


def join_biases(model: nn.Module, example: Inputs) -> tuple[str, ...]:
    """Make `q_bias`, `k_bias` and `v_bias` of attentions the bias of their layer `qkv`, in place.

    BEiT (Bao et al. 2022) has none for keys, and puts zeros in its place: the layer is then called through a
    function, where it has neither units to score nor activations. Where an attention without the three calls
    its layer and computes the same, the layer gets their bias; elsewhere they stay, as do those that others
    share or of which only one learns.

    Args:
        model: the network; one without such biases is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        The names of the attentions that were changed.
    """
    every = dict(model.named_modules(remove_duplicate=False))
    found = [name for name, module in every.items() if _can_join(module, model)]
    return change_where_possible(model, example, found, join)


def join(model: nn.Module, names: Sequence[str]) -> None:
    """Make the biases of the attentions of these names their layers', in place."""
    for name in names:
        module = model.get_submodule(name)
        layer, biases = module.get_submodule("qkv"), _biases(module)
        known = [bias for bias in biases.values() if bias is not None]
        if not known:
            continue  # the module has another name as well, by which they were joined
        whole = _whole([biases[each] for each in _NAMES], known[0])
        layer.register_parameter("bias", nn.Parameter(whole.detach().clone(), known[0].requires_grad))
        for each, bias in biases.items():
            if bias is not None:
                setattr(module, each, None)


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


def _biases(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: getattr(module, name, None) for name in _NAMES}


def _can_join(module: nn.Module, model: nn.Module) -> bool:
    layer, biases = getattr(module, "qkv", None), _biases(module)
    if type(layer) is not nn.Linear or layer.bias is not None:
        return False
    own = {name: bias for name, bias in biases.items() if isinstance(bias, nn.Parameter)}
    sizes = {tuple(bias.shape) for bias in biases.values() if isinstance(bias, Tensor)}
    if not own.keys() >= {"q_bias", "v_bias"} or sizes != {(layer.out_features // len(_NAMES),)}:
        return False
    if len({bias.requires_grad for bias in own.values()}) > 1:
        return False
    held = [p for each in model.modules() for p in each._parameters.values()]
    return all(sum(each is bias for each in held) == 1 for bias in own.values())
