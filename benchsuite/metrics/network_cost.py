"""What a network costs, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of one sample's forward pass in evaluation mode.

    MACs are the multiply-accumulates of convolutions, linear layers and matrix products, attention's
    included; FLOPs are twice as many. Normalisation, activation functions, pooling and other work done
    element by element count as zero. Padding counts as if it were data, as everywhere in the field.

    Attributes:
        params: elements of all parameters, shared ones once.
        macs: multiply-accumulates of one sample.
        nonzero_params: the same without the zeros in the weights of convolutions and linear layers.
        nonzero_macs: the same without the multiplications by those zeros.
        peak_activation_bytes: most bytes of intermediate tensors alive at one moment of the forward pass,
            the input and work space inside a single operation not included.
        unknown_modules: modules with parameters that contribute nothing to the MACs and are not known to
            need none; the MACs are then a lower bound.
    """

    params: int
    macs: int
    nonzero_params: int
    nonzero_macs: int
    peak_activation_bytes: int
    unknown_modules: tuple[str, ...]
