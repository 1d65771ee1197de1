"""Records which calls to torch depend on a tensor, and repeats only those."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INPUTS = -1
_SHAPE_QUERIES = frozenset({"size", "dim", "numel", "__len__", "ndimension", "nelement", "__get__"})


class Calls:
    """A recording, by number of the call: the dependent calls, and the results of the others."""

    def __init__(self) -> None:
        self.dependent: set[int] = set()
        self.results: dict[int, Any] = {}
        self.copied: set[int] = set()


class Recorder(TorchFunctionMode):
    """Records a pass; results that no dependent call needs are replaced by empty tensors at the end.

    Args:
        inputs: the network's inputs.
    """

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self._paused = False
        self._count = 0
        self._calls = Calls()
        self._dependent = WeakTensorKeyDictionary()
        self._born = WeakTensorKeyDictionary()
        self._needed: dict[int, list[Tensor]] = {}
        self._snapshots: dict[int, dict[int, Tensor]] = {}
        # The inputs count as the result of a call before the first.
        for tensor in tree_leaves(inputs):
            self._born[tensor] = _INPUTS
        self._calls.results[_INPUTS] = inputs

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Inside, calls to torch are not part of the recording."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def taint(self, tensor: Tensor) -> None:
        """Count everything that is computed from a tensor as dependent."""
        self._dependent[tensor] = True

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
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

    def finished(self) -> Calls:
        """Return the recording, when the pass is over."""
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


class Player(TorchFunctionMode):
    """Executes the dependent calls of a recording and returns the recorded results for the others.

    Args:
        calls: the recording.
        samples: how many it had.
        variants: how many variants of the dependent part are stacked along the first dimension.

    Attributes:
        inputs: what stands for the network's inputs.
    """

    def __init__(self, calls: Calls, samples: int, variants: int) -> None:
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
