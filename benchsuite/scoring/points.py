"""Where a layer's activation maps are read: after the non-linearity that follows it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from benchsuite.errors import Unsupported
from benchsuite.scoring.nonlinearity import NonLinearity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchsuite.contracts.layers import Layer

Stage = Literal["output", "norm", "activation"]

_IN_PLACE_TOO = frozenset(
    {"relu", "leaky_relu", "rrelu", "elu", "celu", "selu", "hardtanh", "sigmoid", "tanh", "threshold"}
    | {"clamp", "clamp_min"}
)
NONLINEAR = (
    _IN_PLACE_TOO
    | {f"{name}_" for name in _IN_PLACE_TOO}
    | {"_threshold"}  # what torch.nn.functional calls its threshold
    | {"relu6", "prelu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "softplus", "softsign"}
    | {"logsigmoid", "hardshrink", "softshrink", "tanhshrink"}
)
NORMS = frozenset({"batch_norm", "group_norm", "layer_norm", "instance_norm"})
_PASSING = (
    NORMS
    | {f"{kind}_pool{n}d" for kind in ("max", "avg", "lp", "adaptive_max", "adaptive_avg") for n in (1, 2, 3)}
    | {"dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"}
    | {"contiguous", "clone"}
)
_ADDING = frozenset({"add", "add_", "__add__", "__iadd__", "__radd__", "sub", "__sub__"})


_TOLERANCE = 1e-3
"""What other kernels for other sizes of batches may make of a number, relative to the largest."""
_NO_ROWS = (
    "the rows of its output are not those of one sample after the other, so activations cannot be attributed "
    "to samples"
)


@dataclass(frozen=True)
class ActivationPoint:
    """Where one layer's activation maps are read.

    Attributes:
        stage: "activation" after the first non-linearity; "norm" or "output" where none follows.
        function: the non-linearity's name in torch without underscores around it, such as "relu", or None.
        zero_below: whether the non-linearity, called as the network calls it, is exactly zero for negative
            inputs, as ReLU is.
        owner: the first of the layers whose point this is, where it is an activation.
        fault: why what is read there cannot be given to samples, if it cannot.
    """

    stage: Stage
    function: str | None = None
    zero_below: bool = False
    owner: str | None = None
    fault: str | None = None


class _PointMode(TorchFunctionMode):
    """Follows the layers' outputs through normalisation, pooling, dropout and additions.

    A chain starts at a layer's output and ends at the first non-linearity. It continues through additions,
    since the channels of a residual sum are the (coupled) units of every layer that is added; but behind one
    a normalisation ends it, as in pre-activation networks, where it belongs to what reads the sum. Operations
    that mix or move channels (another layer, concatenation, reshaping) end it.
    """

    def __init__(self, reached: Callable[[str, Stage, NonLinearity | None, Tensor], None]) -> None:
        super().__init__()
        self._reached = reached
        # Per tensor: the layers whose chain it belongs to; True while nothing was added to it.
        self._chains = WeakTensorKeyDictionary()
        self._busy = False

    def start(self, layer: str, output: Tensor) -> None:
        """Begin a layer's chain at its output."""
        self._chains[output] = {layer: True}
        self._report({layer: True}, "output", None, output)

    def _report(
        self, chain: Mapping[str, bool], stage: Stage, call: NonLinearity | None, tensor: Tensor
    ) -> None:
        self._busy = True
        try:
            for layer, pure in chain.items():
                if pure or stage == "activation":
                    self._reached(layer, stage, call, tensor)
        finally:
            self._busy = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        chain = self._chain_of(name, args, kwargs)
        result = func(*args, **kwargs)
        if chain and isinstance(result, Tensor):
            if name in NONLINEAR:
                self._chains.pop(result, None)
                self._report(chain, "activation", NonLinearity(func, args, kwargs), result)
            else:
                self._chains[result] = chain
                if name in NORMS:
                    self._report(chain, "norm", None, result)
        return result

    def _chain_of(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, bool] | None:
        if name in NONLINEAR or name in _PASSING:
            source = args[0] if args else kwargs.get("input")
            chain = self._chains.get(source) if isinstance(source, Tensor) else None
            if chain and name in NORMS:
                chain = {layer: pure for layer, pure in chain.items() if pure}
            return chain
        if name in _ADDING:
            terms = [value for value in (*args[:2], kwargs.get("other")) if isinstance(value, Tensor)]
            if len(terms) == 2 and terms[0].shape == terms[1].shape:
                joined = [self._chains.get(term) or {} for term in terms]
                return {layer: False for chain in joined for layer in chain}
        return None


@contextmanager
def _following(
    layers: Sequence[Layer], reached: Callable[[str, Stage, NonLinearity | None, Tensor], None]
) -> Iterator[None]:
    mode = _PointMode(reached)
    called: set[str] = set()

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def begin(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # A layer used twice in one pass is read at its first use.
            if name not in called and isinstance(output, Tensor):
                called.add(name)
                mode.start(name, output)

        return begin

    handles = [layer.module.register_forward_hook(hook(layer.name)) for layer in layers]
    try:
        with mode:
            yield
    finally:
        for handle in handles:
            handle.remove()


def find_points(model: nn.Module, layers: Sequence[Layer], sample: Tensor) -> dict[str, ActivationPoint]:
    """Find each layer's activation point by one forward pass over `sample`.

    The point is the first non-linearity on the way of the layer's channels, after any normalisation, pooling,
    dropout or residual addition (a residual sum's activation belongs to all layers that are added, which are
    coupled). Behind an addition no normalisation is passed: it belongs to what reads the sum. If there is no
    such non-linearity, the point is the output of the normalisation that directly follows, or the layer's own
    output. Layers that the pass does not reach are left out. A gate that is written out, such as
    `x * sigmoid(x)`, is read at its sigmoid.

    With two samples or more it is also tried whether the rows of what is read are those of one sample after
    the other, as windows of an image may be.
    """
    points: dict[str, ActivationPoint] = {}
    first: tuple[NonLinearity | None, str] = (None, "")

    def reached(layer: str, stage: Stage, call: NonLinearity | None, tensor: Tensor) -> None:
        nonlocal first
        known = points.get(layer)
        if known is not None and known.stage == "activation":
            return
        if call is None:
            points[layer] = ActivationPoint(stage)
        else:
            # The layers of one sum are told of one call, one after the other.
            first = first if first[0] is call else (call, layer)
            points[layer] = ActivationPoint(stage, call.name, call.zero_below(tensor), first[1])

    with torch.no_grad(), _following(layers, reached):
        model(sample)
    if len(sample) < 2:
        return points
    one, other, both = (_read(model, layers, points, part) for part in (sample[:1], sample[1:2], sample[:2]))
    return {
        name: point
        if in_rows(one.get(name), other.get(name), both.get(name))
        else replace(point, fault=f"layer {name}: {_NO_ROWS}")
        for name, point in points.items()
    }


def in_rows(one: Tensor | None, other: Tensor | None, both: Tensor | None) -> bool:
    """Whether a tensor of two samples has the rows that it has of the one, and then those of the other."""
    if one is None or other is None or both is None or one.ndim == 0:
        return one is other is both
    if one.shape != other.shape or both.shape != (2 * len(one), *one.shape[1:]):
        return False
    both, expected = both.detach(), torch.cat((one, other)).detach()
    largest = float(both.abs().max()) if both.numel() else 0.0
    return bool(((both - expected).abs() <= _TOLERANCE * largest).all())


def _read(
    model: nn.Module, layers: Sequence[Layer], points: Mapping[str, ActivationPoint], sample: Tensor
) -> dict[str, Tensor]:
    """What is at the points."""
    found: dict[str, Tensor] = {}
    with torch.no_grad(), reading(layers, points, lambda name, tensor: found.update({name: tensor.clone()})):
        model(sample)
    return found


@contextmanager
def reading(
    layers: Sequence[Layer], points: Mapping[str, ActivationPoint], sink: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `sink(layer name, tensor)` at each layer's activation point during forward passes inside.

    The tensor has the network's own layout and may be overwritten after the call; `as_maps` reorders it. Only
    one forward pass per `with`, since each layer is read once. A point with a fault raises `Unsupported`.
    """
    seen: set[str] = set()

    def reached(layer: str, stage: Stage, _call: NonLinearity | None, tensor: Tensor) -> None:
        if layer in points and stage == points[layer].stage and layer not in seen:
            seen.add(layer)
            if (fault := points[layer].fault) is not None:
                raise Unsupported(fault)
            sink(layer, tensor)

    with _following(layers, reached):
        yield


def as_maps(layer: Layer, tensor: Tensor, samples: int) -> Tensor:
    """Order a layer's output as (samples, units, positions...), with at least one position dimension.

    Convolutions have their units in the second dimension, linear and recurrent layers in the last (after
    tokens, steps or positions, if any). Windows that a network has moved into the sample dimension become
    positions.

    Raises:
        Unsupported: the first dimension is not a multiple of the number of samples.
    """
    maps = tensor if layer.kind == "conv" else tensor.movedim(-1, 1)
    if maps.ndim == 2:
        maps = maps.unsqueeze(-1)
    if maps.shape[0] == samples:
        return maps
    if samples == 0 or maps.shape[0] % samples:
        raise Unsupported(
            f"layer {layer.name}: its output has {maps.shape[0]} rows for {samples} samples, "
            "so activations cannot be attributed to samples"
        )
    folded = maps.reshape(samples, -1, *maps.shape[1:])
    return folded.transpose(1, 2).flatten(2)
