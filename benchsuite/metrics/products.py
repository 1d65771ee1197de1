"""The multiply-accumulates of single operations: which factors they multiply, and how often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from benchsuite.metrics.storages import stored_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Formula = Callable[[Sequence[Any], Any], "list[Product] | None"]


class Product(NamedTuple):
    """A product of two tensors.

    Attributes:
        macs: its multiply-accumulates.
        factors: tensors of which a zero saves multiplications. Each entry of such a tensor is used in
            equally many of them.
    """

    macs: int
    factors: tuple[Tensor, ...]


def products_of(operation: str, args: Sequence[Any], result: Any) -> list[Product] | None:
    """What an operation multiplies; None if there is no formula for it here.

    Args:
        operation: its name with its namespace, such as `aten.addmm`.
        args: what it was given.
        result: what it returned.
    """
    formula = _FORMULAS.get(operation)
    return None if formula is None else formula(args, result)


def _product(macs: int, *factors: Tensor) -> list[Product]:
    # (a + bi)(c + di) takes four real multiplications, which are added up in four real additions.
    times = 4 if all(factor.is_complex() for factor in factors) else 1
    return [Product(times * macs, factors)]


def _matrices(first: int) -> Formula:
    """Of a matrix product whose left factor, (…, rows, inner) or (inner,), is this argument."""

    def count(args: Sequence[Any], _result: Any) -> list[Product] | None:
        left, right = args[first : first + 2]
        sparse = [factor.layout is not torch.strided for factor in (left, right)]
        if all(sparse):
            return None  # which entries meet depends on where they are
        if sparse[1]:
            rows = 1 if left.ndim == 1 else left.shape[-2]
            return _product(rows * stored_numbers(right), left, right)
        columns = 1 if right.ndim == 1 else right.shape[-1]
        return _product(stored_numbers(left) * columns, left, right)

    return count


def vector_products(factors: Sequence[Tensor]) -> list[Product]:
    """Of dot products along an axis, between two tensors that are expanded to one shape."""
    return _product(math.prod(torch.broadcast_shapes(*(factor.shape for factor in factors))), *factors)


def _outer(args: Sequence[Any], _result: Any) -> list[Product]:
    return _product(args[1].numel() * args[2].numel(), args[1], args[2])


def _convolution(args: Sequence[Any], result: Any) -> list[Product]:
    given, weight = args[:2]
    transposed = bool(args[6]) if len(args) > 6 else False
    places = given.numel() if transposed else result.numel()
    return _product(places * math.prod(weight.shape[1:]), given, weight)


def _plain_convolution(args: Sequence[Any], result: Any) -> list[Product]:
    """Of a convolution that reads its input as it is, or at places between its entries."""
    given, weight = args[:2]
    return _product(result.numel() * math.prod(weight.shape[1:]), given, weight)


def _trilinear(args: Sequence[Any], _result: Any) -> list[Product]:
    """A sum of x W y: one for each entry of W and pair of inputs, since the products x y are element-wise."""
    shapes = []
    for tensor, places in zip(args[:3], args[3:6], strict=True):
        opened = tensor
        for place in places:
            opened = opened.unsqueeze(place)
        shapes.append(opened.shape)
    return _product(math.prod(torch.broadcast_shapes(*shapes)), *args[:3])


def _distances(args: Sequence[Any], result: Any) -> list[Product]:
    """A difference is squared, or its absolute value taken, and added up; zeros save nothing."""
    return [Product(result.numel() * args[0].shape[-1], ())]


def _onednn_rnn(args: Sequence[Any], _result: Any) -> list[Product]:
    """Each weight of a direction, (gates x units, inputs) or (gates x units, units), meets each time step."""
    given, weights = args[0], args[1:3]
    steps = given.numel() // given.shape[-1]
    return [Product(steps * weight.numel(), (weight,)) for weight in weights]


def _cudnn_rnn(args: Sequence[Any], _result: Any) -> list[Product]:
    """All layers and directions at once; what is no matrix among the weights is a bias."""
    given, weights = args[:2]
    steps = given.numel() // given.shape[-1]
    return [Product(steps * weight.numel(), (weight,)) for weight in weights if weight.ndim > 1]


_ADDED = ("addmm", "baddbmm", "addbmm", "addmv")
"""Products that are added to their first argument; an underscore after the name says that they replace it."""

_FORMULAS: dict[str, Formula] = {
    **{f"aten.{name}": _matrices(0) for name in ("mm", "bmm", "mv", "dot", "vdot", "_scaled_mm", "_int_mm")},
    **{f"aten.{name}": _matrices(1) for name in (*_ADDED, "_addmm_activation", "_sparse_addmm")},
    **{f"aten.{name}_": _matrices(1) for name in _ADDED},
    "aten.addr": _outer,
    "aten.addr_": _outer,
    "aten.convolution": _convolution,
    "aten._convolution": _convolution,
    "aten.convolution_overrideable": _convolution,
    "aten.cudnn_convolution": _plain_convolution,
    "aten._slow_conv2d_forward": _plain_convolution,
    "torchvision.deform_conv2d": _plain_convolution,
    "aten._trilinear": _trilinear,
    "aten._cdist_forward": _distances,
    "aten._euclidean_dist": _distances,
    "aten._pdist_forward": _distances,
    "aten.mkldnn_rnn_layer": _onednn_rnn,
    "aten._cudnn_rnn": _cudnn_rnn,
    "aten.miopen_rnn": _cudnn_rnn,
}
