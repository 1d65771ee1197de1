"""Runs only the part of a network that depends on one layer's output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

_INPUTS = -1
_SHAPE_QUERIES = frozenset({"size", "dim", "numel", "__len__", "ndimension", "nelement", "__get__"})


class PartialForward:
    """The part of a network after one of its modules, for fixed inputs.

    One full pass records which calls to torch depend on the module's output. Later passes run the same Python
    code, but only those calls are executed; the results of other calls that they need are stored, and the
    rest return empty tensors of the right shape. So skip connections and functional code need no special
    handling. Several variants of the module's output can be run at once, concatenated along the first
    dimension.

    The recording is checked: if replaying it does not give the network's own outputs, every later run is a
    full pass with the module's output replaced.

    Args:
        model: the network, in evaluation mode.
        module: the module whose output will be varied, in its first call.
        inputs: the fixed inputs, samples first.

    Attributes:
        output: the module's own output, a copy.
        outputs: the network's outputs.
    """

    def __init__(self, model: nn.Module, module: nn.Module, inputs: Tensor) -> None:
        self._model, self._module, self._inputs = model, module, inputs
        recorder = _Recorder(inputs)
        original: list[Tensor] = []

        def begin(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if not original:
                recorder.paused = True
                original.append(output.clone())
                recorder.paused = False
                recorder.taint(output)

        handle = module.register_forward_hook(begin)
        try:
            with torch.no_grad(), recorder:
                self.outputs: Tensor = model(inputs)
        finally:
            handle.remove()
        if not original:
            raise ValueError("the forward pass does not reach the module")
        self.output = original[0]
        self._calls = recorder.finished()
        self._fast, self._stacks = True, True
        self._fast = self._agrees(1)
        self._stacks = self._fast and self._agrees(2)

    def _agrees(self, variants: int) -> bool:
        outputs = self.output.repeat(variants, *[1] * (self.output.ndim - 1))
        try:
            with torch.no_grad():
                found = self._replay(outputs, variants)
        except (RuntimeError, KeyError, TypeError, ValueError, IndexError):
            return False
        expected = self.outputs.repeat(variants, *[1] * (self.outputs.ndim - 1))
        return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-5)

    def run(self, outputs: Tensor, variants: int = 1) -> Tensor:
        """Return the network's outputs with the module's replaced.

        Args:
            outputs: (variants x samples, ...), variant by variant.
            variants: how many variants of the module's output there are.
        """
        if self._stacks or (self._fast and variants == 1):
            return self._replay(outputs, variants)
        parts = outputs.split(len(self.output))
        if self._fast:
            return torch.cat([self._replay(part, 1) for part in parts])
        return torch.cat([self._full(part) for part in parts])

    def _replay(self, outputs: Tensor, variants: int) -> Tensor:
        player = _Player(self._calls, len(self._inputs), variants)
        with _replacing(self._module, outputs), player:
            result: Tensor = self._model(player.inputs)
        return result

    def _full(self, outputs: Tensor) -> Tensor:
        with _replacing(self._module, outputs):
            result: Tensor = self._model(self._inputs)
        return result


class _replacing:  # noqa: N801 - used like a function
    """Replaces the output of a module's first call inside the block."""

    def __init__(self, module: nn.Module, outputs: Tensor) -> None:
        self._module, self._outputs, self._done = module, outputs, False

    def __enter__(self) -> None:
        self._handle = self._module.register_forward_hook(self._replace)

    def _replace(self, _module: nn.Module, _inputs: Any, _output: Any) -> Tensor | None:
        if self._done:
            return None
        self._done = True
        return self._outputs

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


class _Calls:
    """A recording, by number of the call: the dependent calls, and the results of the others."""

    def __init__(self) -> None:
        self.dependent: set[int] = set()
        self.results: dict[int, Any] = {}
        self.copied: set[int] = set()


class _Recorder(TorchFunctionMode):
    """Records a pass; results that no dependent call needs are replaced by empty tensors at the end."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.paused = False
        self._count = 0
        self._calls = _Calls()
        self._dependent = WeakTensorKeyDictionary()
        self._born = WeakTensorKeyDictionary()
        self._needed: dict[int, list[Tensor]] = {}
        self._snapshots: dict[int, dict[int, Tensor]] = {}
        # The inputs count as the result of a call before the first.
        self._born[inputs] = _INPUTS
        self._calls.results[_INPUTS] = inputs

    def taint(self, tensor: Tensor) -> None:
        self._dependent[tensor] = True

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        number = self._count
        self._count += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        dependent = any(tensor in self._dependent for tensor in tensors)
        if dependent:
            for tensor in tensors:
                if tensor in self._born and tensor not in self._dependent:
                    self._needed.setdefault(self._born[tensor], []).append(tensor)
        if _in_place(func) and args and isinstance(args[0], Tensor) and args[0] in self._born:
            self._preserve(args[0], by_dependent=dependent)
        result = func(*args, **kwargs)
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if dependent:
            self._calls.dependent.add(number)
            for leaf in leaves:
                self._dependent[leaf] = True
        else:
            self._calls.results[number] = result
            for leaf in leaves:
                self._born[leaf] = number
        return result

    def _preserve(self, tensor: Tensor, *, by_dependent: bool) -> None:
        """Copy a needed tensor before it is overwritten."""
        number = self._born[tensor]
        if tensor in self._dependent or not any(tensor is needed for needed in self._needed.get(number, [])):
            return
        self._snapshots.setdefault(number, {}).setdefault(id(tensor), tensor.clone())
        if by_dependent:
            self._calls.copied.add(number)

    def finished(self) -> _Calls:
        for number, result in self._calls.results.items():
            needed = {id(tensor) for tensor in self._needed.get(number, [])}
            snapshots = self._snapshots.get(number, {})

            def slim(leaf: Any, needed: set[int] = needed, snapshots: dict[int, Tensor] = snapshots) -> Any:
                if not isinstance(leaf, Tensor):
                    return leaf
                if id(leaf) in snapshots:
                    return snapshots[id(leaf)]
                return leaf if id(leaf) in needed else leaf.new_empty(()).expand(leaf.shape)

            self._calls.results[number] = tree_map(slim, result)
        return self._calls


class _Player(TorchFunctionMode):
    """Executes the dependent calls of a recording and returns the recorded results for the others."""

    def __init__(self, calls: _Calls, samples: int, variants: int) -> None:
        super().__init__()
        self._calls, self._samples, self._variants = calls, samples, variants
        self._count = 0
        self.inputs = self._answer(_INPUTS)

    def _stretched(self, tensor: Tensor) -> Tensor:
        """Repeat a tensor for every variant if its first dimension is the samples."""
        if self._variants == 1 or tensor.ndim == 0 or tensor.shape[0] != self._samples:
            return tensor
        wide = tensor.unsqueeze(0).expand(self._variants, *tensor.shape)
        if tensor.numel() and all(stride == 0 for stride in tensor.stride()):
            return tensor.new_empty(()).expand(self._variants * self._samples, *tensor.shape[1:])
        return wide.reshape(-1, *tensor.shape[1:])

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        number = self._count
        self._count += 1
        if number in self._calls.dependent:
            return func(*args, **kwargs)
        result = self._calls.results[number]
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            if getattr(func, "__name__", "") in _SHAPE_QUERIES:
                return func(*args, **kwargs)
            return result
        return self._answer(number)

    def _answer(self, number: int) -> Any:
        copied = number in self._calls.copied

        def stretch(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            stretched = self._stretched(leaf)
            return stretched.clone() if copied and stretched is leaf else stretched

        return tree_map(stretch, self._calls.results[number])


def _in_place(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name == "__setitem__" or (
            name.startswith("__i") and name not in {"__index__", "__int__", "__invert__"}
        )
    return name.endswith("_")
