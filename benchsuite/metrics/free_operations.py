"""Which operations take no multiply-accumulates by the convention of `Cost`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

_FREE_TAGS = ("pointwise", "reduction", "view_copy", "inplace_view")
"""Of operations, as torch declares them; older versions know fewer."""

_FREE = re.compile(
    r"aten\.("
    # normalisation, softmax, activation functions
    r"\w*(batch|layer|group|rms)_?norm\w*|_?(safe|log)?_?softmax|\w*softmax|glu|_prelu_kernel|\w*rrelu\w*|hardswish|"
    r"\w*dropout|_thnn_fused_(lstm|gru)_cell|renorm|_weight_norm_interface|\w*quantize_per\w*|dequantize|"
    # pooling, interpolation, padding
    r"\w*pool[123]d\w*|\w*upsample_\w+|grid_sampler\w*|\w*_grid_sampler\w*|\w+_pad[123]d|constant_pad_nd|"
    r"affine_grid_generator|"
    # reductions and running sums
    r"sum|nansum|mean|nanmean|prod|a?max|a?min|aminmax|var|std|var_mean|std_mean|norm|linalg_vector_norm|"
    r"logsumexp|cum(sum|prod|max|min)|logcumsumexp|median|nanmedian|mode|sort|topk|kthvalue|trace|"
    r"linalg_cross|dist|"
    # moving and picking what is there
    r"_to_copy|_conj_physical|_unsafe_view|_reshape_copy|as_strided\w*|cat|stack|clone|copy|contiguous|repeat|"
    r"repeat_interleave|flip|roll|rot90|index\w*|_unsafe_index\w*|gather|scatter\w*|take|masked_\w+|"
    r"\w*select\w*|\w*slice\w*|embedding|_?embedding_bag\w*|_embedding_bag_forward_only|im2col|col2im|"
    r"pixel_(un)?shuffle|channel_shuffle|native_channel_shuffle|unsafe_(split|chunk)\w*|split_with_sizes_copy|"
    r"tril|triu|diag_embed|diagonal_\w+|unfold\w*|set|resize\w*|_pack_padded_sequence|"
    r"_to_dense|_to_sparse\w*|_?coalesced?|_?sparse_\w+_tensor\w*|_validate_sparse_\w+|_local_scalar_dense|item|equal|_assert\w*|\w*detach\w*|"
    # new tensors
    r"new_\w+|\w+_like|fill|zero|\w*normal\w*|\w*uniform\w*|bernoulli|multinomial|complex|polar"
    r")_?|torchvision\.(roi_(align|pool)|ps_roi_(align|pool)|nms)"
)


def is_free(operation: Any, args: Sequence[Any], result: Any) -> bool:
    """Whether an operation multiplies nothing that the convention counts.

    Args:
        operation: one of torch's, all overloads together.
        args: what it was given.
        result: what it returned.
    """
    given, made = _numbers(args), _numbers(result)
    return not given or not made or _is_known_to_be_free(operation)


def _numbers(values: Any) -> bool:
    """Whether there are tensors that hold more than indices and flags."""
    leaves = tree_leaves(values)
    return any(
        isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex()) for leaf in leaves
    )


@lru_cache(maxsize=4096)
def _is_known_to_be_free(operation: Any) -> bool:
    if _FREE.fullmatch(str(operation)):
        return True
    tags = {getattr(torch.Tag, name) for name in _FREE_TAGS if hasattr(torch.Tag, name)}
    overloads = [getattr(operation, name) for name in operation.overloads()]
    return any(tags & set(overload.tags) or is_view(overload) for overload in overloads)


def is_view(overload: Any) -> bool:
    """Whether an operation returns its input seen in another way, and writes nothing."""
    if torch.Tag.inplace_view in overload.tags:
        return True
    returned = [found.alias_info for found in overload._schema.returns]
    return bool(returned) and all(alias is not None and not alias.is_write for alias in returned)
