"""The cost of a network, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of one sample's forward pass in evaluation mode.

    MACs are the multiply-accumulates of convolutions, linear layers and matrix products, those of attention
    included; FLOPs are twice as many. Normalisation, activation functions, pooling and other element-wise
    operations count as zero. Padding counts as if it were data, as everywhere in the field.

    Attributes:
        params: elements of all parameters, shared ones once.
        macs: multiply-accumulates of one sample.
        nonzero_params: the same without the zeros in the weights of convolutions and linear layers.
        nonzero_macs: the same without the multiplications by those zeros.
        peak_activation_bytes: largest total size of the intermediate tensors that are alive at the same time
            in the forward pass, without the input and the work space inside a single operation.
        unknown_modules: modules with parameters for which no MACs were counted, though they may need some; if
            there are any, the MACs are a lower bound.
    """

    params: int
    macs: int
    nonzero_params: int
    nonzero_macs: int
    peak_activation_bytes: int
    unknown_modules: tuple[str, ...]
