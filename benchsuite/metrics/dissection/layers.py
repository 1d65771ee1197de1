"""Which layers are dissected, and their maps during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchsuite.contracts.layers import Layer
from benchsuite.errors import Unsupported, UsageError
from benchsuite.scoring.points import ActivationPoint, as_maps, find_points, reading

MapSink = Callable[[str, Tensor], None]
"""Called with a layer's name and its maps, (images, units, height, width)."""


def choose_layers(model: nn.Module, sample: Tensor) -> tuple[str, ...]:
    """Return the names of the last convolutions at each resolution that the network works at, in order.

    Of the convolutions that one forward pass over `sample` calls, those with the same output size form a
    stage; the one called last represents it. Outputs of a single position (squeeze and excitation, pooled
    heads) have no location in the image and are left out.

    Raises:
        Unsupported: no convolution has an output of more than one position.
    """
    last: dict[tuple[int, ...], str] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            size = tuple(output.shape[2:])
            if size.count(1) < len(size):
                last.pop(size, None)  # a resolution's place in the order is that of its last convolution
                last[size] = name

        return note

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            model(sample)
    finally:
        for handle in handles:
            handle.remove()
    if not last:
        raise Unsupported(
            "dissection needs a convolution with an output of more than one position; there is none"
        )
    return tuple(last.values())


class MapReader:
    """Reads the maps of some layers during forward passes.

    A convolution is read after the non-linearity that follows it (after normalisation and residual addition);
    any other module, such as a whole stage, at its own output.

    Raises:
        UsageError: the model has no module of that name.
        Unsupported: the forward pass does not reach a layer, or its output is no map.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], sample: Tensor) -> None:
        modules = dict(model.named_modules())
        absent = [name for name in names if name not in modules]
        if absent:
            convolutions = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
            raise UsageError(
                f"dissection: the network has no layer {', '.join(map(repr, absent))};"
                f" its convolutions are {', '.join(convolutions)}"
            )
        self.names = tuple(names)
        self._layers = [Layer(n, "conv", modules[n]) for n in names if isinstance(modules[n], nn.Conv2d)]
        self._others = {n: modules[n] for n in names if not isinstance(modules[n], nn.Conv2d)}
        self._points: dict[str, ActivationPoint] = find_points(model, self._layers, sample)
        reached = dict.fromkeys(names, False)

        def note(name: str, _maps: Tensor) -> None:
            reached[name] = True

        with torch.no_grad(), self.reading(len(sample), note):
            model(sample)
        unreached = [name for name, seen in reached.items() if not seen]
        if unreached:
            raise Unsupported(f"dissection: the forward pass does not reach {', '.join(unreached)}")

    @contextmanager
    def reading(self, samples: int, sink: MapSink) -> Iterator[None]:
        """Call `sink(name, maps)` for each layer during the one forward pass inside, over `samples` images.

        The maps may be overwritten after the call.
        """
        layers = {layer.name: layer for layer in self._layers}

        def at_point(name: str, output: Tensor) -> None:
            sink(name, _checked(name, as_maps(layers[name], output, samples)))

        def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def at_output(_module: nn.Module, _inputs: Any, output: Any) -> None:
                sink(name, _checked(name, output))

            return at_output

        with ExitStack() as stack:
            for name, module in self._others.items():
                stack.callback(module.register_forward_hook(hook(name)).remove)
            stack.enter_context(reading(self._layers, self._points, at_point))
            yield


def _checked(name: str, maps: Any) -> Tensor:
    if not isinstance(maps, Tensor) or maps.ndim != 4:
        shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise Unsupported(
            f"dissection: the output of {name} is {shape}, not maps (images, units, height, width)"
        )
    return maps
