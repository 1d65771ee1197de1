"""Tensors of a forward pass by name: what a module returns, or what a call in its code returns."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WRITTEN = re.compile(r"(?P<module>.*?)(?:(?:^|\.)(?P<function>\w+)\(\))?(?:#(?P<use>\d+))?")


@dataclass(frozen=True)
class Place:
    """Where a tensor comes from in a forward pass.

    Written `layer4` (what the module returns), `features.relu()` (what the function that the module's own
    code calls returns; `relu()` for the network itself), and `relu#2` or `relu()#2` for the second time.

    Attributes:
        module: the module's dotted path; empty for the network itself.
        function: the function's name in torch; empty for what the module returns.
        use: which call of the module or function it is, from 1.
    """

    module: str
    function: str = ""
    use: int = 1

    def __str__(self) -> str:
        path = ".".join(part for part in (self.module, self.function and f"{self.function}()") if part)
        return path if self.use == 1 else f"{path}#{self.use}"

    @classmethod
    def parse(cls, name: str) -> Place:
        """Read what `str` writes."""
        found = _WRITTEN.fullmatch(name)
        assert found is not None  # every string matches
        return cls(found["module"], found["function"] or "", int(found["use"] or 1))


class Observer(TorchFunctionMode):
    """Watches a forward pass: every module that is entered and left, every function that is called.

    Used as `with observer.watching(): model(inputs)`, once. Subclasses override `entered`, `left` and
    `called`; what they call themselves is not observed.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._path: list[str] = []
        self._uses: Counter[tuple[str, str]] = Counter()
        self._paused = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the one forward pass inside the block."""
        with ExitStack() as stack:
            for name, module in self._model.named_modules():
                enter, leave = self._hooks(name)
                stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(leave, with_kwargs=True).remove)
            stack.enter_context(self)
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Observe nothing inside the block."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def entered(self, module: nn.Module, inputs: Any) -> None:
        """A module is called with these inputs."""

    def left(self, place: Place, output: Any) -> None:
        """The module that was entered last, of those not left, has returned an output."""

    def called(
        self,
        place: Place,  # noqa: ARG002 - for subclasses
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A function is called; returns its result."""
        return func(*args, **kwargs)

    def _hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            with self.paused():
                self._path.append(name)
                self.entered(module, (args, kwargs))

        def leave(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
            with self.paused():
                self._path.pop()
                self._uses[name, ""] += 1
                self.left(Place(name, "", self._uses[name, ""]), output)

        return enter, leave

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused or not self._path:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        self._uses[self._path[-1], name] += 1
        return self.called(Place(self._path[-1], name, self._uses[self._path[-1], name]), func, args, kwargs)


class PlaceReader(Observer):
    """Calls `sink(place, output)` for some places during a forward pass."""

    def __init__(self, model: nn.Module, places: set[Place], sink: Callable[[Place, Any], None]) -> None:
        super().__init__(model)
        self._places = places
        self._sink = sink

    def left(self, place: Place, output: Any) -> None:
        """See `Observer`."""
        if place in self._places:
            self._sink(place, output)

    def called(self, place: Place, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Observer`."""
        result = func(*args, **kwargs)
        if place in self._places and isinstance(result, Tensor):
            self._sink(place, result)
        return result
