"""The cost of a network, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of one sample's forward pass in evaluation mode.

    MACs are the multiply-accumulates of convolutions, linear and recurrent layers, matrix products and
    distances, those of attention included; FLOPs are twice as many. A bilinear form counts one for each of
    its weights, a distance one for each dimension, a product of complex numbers four; complex convolutions,
    which torch runs as three real ones, count as those. Normalisation, activation functions, pooling,
    interpolation (that of deformable convolutions too) and other element-wise operations count as zero.
    Padding counts as if it were data, as everywhere in the field.

    Attributes:
        params: elements of all parameters, shared ones once.
        macs: multiply-accumulates of one sample.
        nonzero_params: the same without the zeros in the weights of convolutions and linear layers.
        nonzero_macs: the same without the multiplications by zeros of weights, wherever a weight is used: one
            that several layers share counts in each of them.
        peak_activation_bytes: largest total size of the intermediate tensors that are alive at the same time
            in the forward pass, without the input and the work space inside a single operation.
        unknown_modules: what was executed, may have multiplied and has no formula, as `module: operation`; if
            there is any, the MACs are a lower bound.
    """

    params: int
    macs: int
    nonzero_params: int
    nonzero_macs: int
    peak_activation_bytes: int
    unknown_modules: tuple[str, ...]
