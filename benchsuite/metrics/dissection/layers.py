"""The maps of the layers that are dissected, during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

from benchsuite.contracts.layers import Layer
from benchsuite.errors import Unsupported, UsageError
from benchsuite.metrics.dissection.layouts import Layout
from benchsuite.metrics.dissection.places import Place, PlaceReader
from benchsuite.metrics.dissection.recording import record
from benchsuite.scoring.points import ActivationPoint, as_maps, find_points, reading

if TYPE_CHECKING:
    from benchsuite.metrics.dissection.recording import Recording

MapSink = Callable[[str, Tensor], None]
"""Called with a layer's name and its maps, (images, units, height, width)."""


class MapReader:
    """Reads the maps of some layers during forward passes.

    A convolution is read after the non-linearity that follows it (after normalisation and residual addition);
    any other module, such as a whole stage, at its own output, and a place in the code of a module (see
    `Place`) there. Tokens are put where they are in the image, channels last become maps.

    Raises:
        UsageError: the model has no module of that name.
        Unsupported: the forward pass does not reach a layer, or its output is no map.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], sample: Tensor) -> None:
        modules = dict(model.named_modules())
        absent = [name for name in names if name not in modules and Place.parse(name).module not in modules]
        absent += [name for name in names if name not in modules and Place.parse(name) == Place(name)]
        if absent:
            raise UsageError(
                f"dissection: the network has no layer {', '.join(map(repr, dict.fromkeys(absent)))};"
                f" {_there_are(modules)}"
            )
        self.names = tuple(names)
        self._model = model
        self._layers = [Layer(n, "conv", modules[n]) for n in names if isinstance(modules.get(n), nn.Conv2d)]
        self._points: dict[str, ActivationPoint] = find_points(model, self._layers, sample)
        points = {layer.name for layer in self._layers}
        recording = record(model, sample[:1])
        called = {id(call.module) for call in recording.calls}
        unreached = [name for name in names if not _reached(name, modules, called, recording)]
        if unreached:
            raise Unsupported(f"dissection: the forward pass does not reach {', '.join(unreached)}")
        self._others = {
            Place(name) if name in modules else Place.parse(name): (name, _layout(name, recording))
            for name in names
            if name not in points
        }

    @contextmanager
    def reading(self, samples: int, sink: MapSink) -> Iterator[None]:
        """Call `sink(name, maps)` for each layer during the one forward pass inside, over `samples` images.

        The maps may be overwritten after the call.
        """
        layers = {layer.name: layer for layer in self._layers}

        def at_place(place: Place, output: Tensor) -> None:
            name, layout = self._others[place]
            sink(name, layout.maps(output))

        others = PlaceReader(self._model, set(self._others), at_place)

        def at_point(name: str, output: Tensor) -> None:
            with others.paused():
                sink(name, _checked(name, as_maps(layers[name], output, samples)))

        with ExitStack() as stack:
            if self._layers:
                stack.enter_context(reading(self._layers, self._points, at_point))
            if self._others:
                stack.enter_context(others.watching())
            yield


def _there_are(modules: Mapping[str, nn.Module]) -> str:
    """The names that a suite can give, in words: of convolutions, or where there are none, of all modules."""
    convolutions = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
    if convolutions:
        return f"its convolutions are {', '.join(convolutions)}"
    named = [f"{name} ({type(module).__name__})" for name, module in modules.items() if name]
    return f"it has no convolutions; its modules are {', '.join(named) or 'none'}"


def _reached(name: str, modules: Mapping[str, nn.Module], called: set[int], recording: Recording) -> bool:
    if name in modules:
        return id(modules[name]) in called
    return recording.by_name(name) is not None


def _layout(name: str, recording: Recording) -> Layout:
    index = recording.by_name(name)
    if index is None:
        raise Unsupported(f"dissection: the output of {name} is not one tensor")
    value = recording.values[index]
    if value.layout is not None:
        return value.layout
    if len(value.shape) == 4:
        return Layout(1, (value.shape[2], value.shape[3]))
    raise Unsupported(
        f"dissection: the output of {name} is {value.shape}, not maps (images, units, height, width),"
        " nor tokens at known positions"
    )


def _checked(name: str, maps: Tensor) -> Tensor:
    if maps.ndim != 4:
        raise Unsupported(
            f"dissection: the output of {name} is {tuple(maps.shape)},"
            " not maps (images, units, height, width)"
        )
    return maps
