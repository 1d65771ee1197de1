"""Attentions of torch, whose queries, keys and values have one packed weight, made ones of linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.pruning.trial_change import change_where_possible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchsuite.contracts.inputs import Inputs

_PARTS = ("q", "k", "v")


class SeparateAttention(nn.Module):
    """What `nn.MultiheadAttention` computes, with a linear layer each for queries, keys and values.

    The three are layers like others: they have units, activations and weights to score, and whole heads of
    them can be removed, which torch's own class cannot do without: it takes the width of a head from that of
    its input. It is called in the same way and gives the same results, but refuses masks of padding: for what
    is padding alone, torch's gives other results in evaluation than in training.

    Args:
        packed: the attention; its weights are taken.

    Attributes:
        num_heads: how many heads.
        head_dim: width of a head.
    """

    in_proj_weight = None
    in_proj_bias = None
    _qkv_same_embed_dim = False
    """By these three torch's own encoder layers see that they must call it."""

    def __init__(self, packed: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = packed.embed_dim, packed.num_heads, packed.head_dim
        self.batch_first, self.dropout = packed.batch_first, packed.dropout
        weights = (
            (packed.q_proj_weight, packed.k_proj_weight, packed.v_proj_weight)
            if packed.in_proj_weight is None
            else packed.in_proj_weight.chunk(3)
        )
        biases = (None,) * 3 if packed.in_proj_bias is None else packed.in_proj_bias.chunk(3)
        trained = packed.in_proj_weight is None or packed.in_proj_weight.requires_grad
        for part, weight, bias in zip(_PARTS, weights, biases, strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
            layer.weight = nn.Parameter(weight.detach().clone(), trained and weight.requires_grad)
            if bias is not None:
                layer.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
            setattr(self, f"{part}_proj", layer)
        self.out_proj = nn.Linear(packed.embed_dim, packed.embed_dim, device="meta")
        self.out_proj.weight, self.out_proj.bias = packed.out_proj.weight, packed.out_proj.bias

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See `nn.MultiheadAttention`: shapes, masks and what is returned are the same.

        Raises:
            TypeError: there is a mask of padding.
        """
        if key_padding_mask is not None:
            raise TypeError("an attention of separate layers takes no mask of padding")
        batched = query.dim() == 3
        tokens = [self._batch_first(each, batched=batched) for each in (query, key, value)]
        q, k, v = (
            getattr(self, f"{part}_proj")(each).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for part, each in zip(_PARTS, tokens, strict=True)
        )
        mask = None if attn_mask is None else self._added(attn_mask, q)
        weights = None
        if need_weights:
            products = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
            weights = torch.softmax(products if mask is None else products + mask, -1)
            weights = functional.dropout(weights, self.dropout, self.training)
            found = weights @ v
        else:
            dropout = self.dropout if self.training else 0.0
            causal = is_causal and mask is not None  # torch believes it, and does not look at the mask
            mask = None if causal else mask
            found = functional.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)
        found = self.out_proj(found.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return found.squeeze(0), None if weights is None else weights.squeeze(0)
        return found if self.batch_first else found.transpose(0, 1), weights

    def _batch_first(self, tokens: Tensor, *, batched: bool) -> Tensor:
        if not batched:
            return tokens.unsqueeze(0)
        return tokens if self.batch_first else tokens.transpose(0, 1)

    def _added(self, mask: Tensor, queries: Tensor) -> Tensor:
        """What is added to the products, (samples or 1, heads or 1, queries, keys).

        Where a mask of truth values is true, nobody may look.
        """
        sides = (1, 1) if mask.dim() == 2 else (-1, self.num_heads)
        mask = mask.view(*sides, *mask.shape[-2:])
        if mask.dtype != torch.bool:
            return mask.to(queries.dtype)
        nothing = torch.zeros(mask.shape, dtype=queries.dtype, device=mask.device)
        return nothing.masked_fill(mask, float("-inf"))


def separate_attentions(model: nn.Module, example: Inputs) -> tuple[str, ...]:
    """Replace every `nn.MultiheadAttention` by a `SeparateAttention`, in place.

    Those stay as they are with which the network would compute something else or not run, in evaluation or in
    training, as where its own code reads the packed weight or calls the attention past its modules; and those
    that have what this class has not: biases of keys and values or a zero among them, masks of padding, a
    subclass, hooks, or a weight that others share.

    Args:
        model: the network; one without attentions is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        The names of the attentions that were replaced.
    """
    every = dict(model.named_modules(remove_duplicate=False))
    packed = [name for name, each in every.items() if _replaceable(each, model)]
    if "" in packed:
        return ()
    return change_where_possible(model, example, packed, separate)


def separate(model: nn.Module, names: Sequence[str]) -> None:
    """Replace the attentions of these names, in place."""
    packed = {name: model.get_submodule(name) for name in names}
    replaced: dict[nn.Module, SeparateAttention] = {}
    for name, attention in packed.items():
        assert isinstance(attention, nn.MultiheadAttention)
        if attention not in replaced:
            replaced[attention] = SeparateAttention(attention).train(attention.training)
            attention.register_forward_pre_hook(_replaced)
        owner, _, child = name.rpartition(".")
        setattr(model.get_submodule(owner), child, replaced[attention])


def _replaced(*_: object) -> None:
    raise RuntimeError("this attention was replaced by one of linear layers, and something still calls it")


def separate_state(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """A state of the network as it was, by the names of its parameters once attentions are replaced.

    Args:
        state: by name, tensors of the shape of the parameters.
        names: the attentions that were replaced.
    """
    found = dict(state)
    for name in names:
        for kind in ("weight", "bias"):
            whole = found.pop(f"{name}.in_proj_{kind}", None)
            for part, value in zip(_PARTS, () if whole is None else whole.chunk(3), strict=whole is not None):
                found[f"{name}.{part}_proj.{kind}"] = value.clone()
        for part in _PARTS:
            if (weight := found.pop(f"{name}.{part}_proj_weight", None)) is not None:
                found[f"{name}.{part}_proj.weight"] = weight
    return found


def _replaceable(module: nn.Module, model: nn.Module) -> bool:
    if type(module) is not nn.MultiheadAttention or module.bias_k is not None or module.add_zero_attn:
        return False
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return False
    own = {id(parameter) for parameter in module.parameters()}
    inside = {*module.modules()}
    return not any(
        id(parameter) in own
        for other in model.modules()
        if other not in inside
        for parameter in other._parameters.values()
    )
