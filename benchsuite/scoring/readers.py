"""Which coupled groups can be gated at their readers, and why others cannot."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from benchsuite.contracts.inputs import another, joined
from benchsuite.contracts.other_parameters import functional_call
from benchsuite.scoring.calls import call_input
from benchsuite.scoring.points import in_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.layers import CoupledGroup


def ungated_groups(
    model: nn.Module, groups: Sequence[CoupledGroup], parameters: Mapping[str, Tensor], sample: Inputs
) -> dict[str, str]:
    """Return the groups whose readers' inputs cannot be seen or given to samples, with the reasons.

    The network runs on one sample, on another and on both: a reader whose module is not called, whose weight
    is used elsewhere too, which no gradient reaches, or whose rows are not those of one sample after the
    other would give a wrong number.

    Args:
        model: the network.
        groups: the coupled groups.
        parameters: its parameters by name, as leaves that require a gradient.
        sample: an input, as for `benchsuite.contracts.inputs.another`.
    """
    names = {reader.layer for group in groups for reader in group.readers}
    modules = {name: model.get_submodule(name) for name in names}
    # Layers may share a weight, which then has the name that it has in the first of them.
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    weights = {name: first[id(module.get_parameter("weight"))] for name, module in modules.items()}
    one, other, two = (_Probe(modules, parameters, weights) for _ in range(3))
    given, changed = sample[:1], another(sample)
    with torch.enable_grad():
        for probe, inputs in ((one, given), (other, changed), (two, joined([given, changed]))):
            probe.run(model, inputs)
    faults = {name: _fault(name, one, other, two) for name in names}
    reasons: dict[str, str] = {}
    for group in groups:
        found = [fault for reader in group.readers if (fault := faults[reader.layer]) is not None]
        if not group.readers:
            found = ["no layer is known that reads its units, or a recurrent one does, which hides how"]
        if found:
            reasons[group.name] = found[0]
    return reasons


def _fault(name: str, one: _Probe, other: _Probe, two: _Probe) -> str | None:
    if not two.read[name] or name in two.elsewhere:
        return f"{name} reads its units without being called as a module, where they cannot be seen"
    if not all(tensor.requires_grad for tensor in two.read[name]):
        return f"no gradient reaches what {name} reads"
    calls = one.read[name], other.read[name], two.read[name]
    if len({*map(len, calls)}) > 1 or not all(in_rows(*of_call) for of_call in zip(*calls, strict=True)):
        return f"what {name} reads cannot be given to samples: they are not its input's first dimension"
    return None


class _Probe(TorchFunctionMode):
    """Notes what layers are called with, and which layers' weights are used outside of their calls."""

    def __init__(
        self, modules: Mapping[str, nn.Module], parameters: Mapping[str, Tensor], weights: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.read: dict[str, list[Tensor]] = defaultdict(list)
        self.elsewhere: set[str] = set()
        self._modules, self._parameters = modules, parameters
        self._weights: dict[int, list[str]] = defaultdict(list)
        """The layers with each weight."""
        for name, weight in weights.items():
            self._weights[id(parameters[weight])].append(name)
        self._inside: dict[str, int] = defaultdict(int)

    def run(self, model: nn.Module, inputs: Inputs) -> None:
        """Run the network once."""
        with ExitStack() as stack:
            for name, module in self._modules.items():
                before = module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True)
                stack.callback(before.remove)
                stack.callback(module.register_forward_hook(partial(self._leave, name)).remove)
            with self:
                functional_call(model, dict(self._parameters), (inputs,))

    def _enter(self, name: str, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._inside[name] += 1
        self.read[name].append(call_input(args, kwargs))

    def _leave(self, name: str, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self._inside[name] -= 1

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(value, Tensor) for value in pytree.tree_leaves(result)):
            for value in pytree.tree_leaves((args, kwargs)):
                names = self._weights.get(id(value), []) if isinstance(value, Tensor) else []
                if not any(self._inside[name] for name in names):
                    self.elsewhere.update(names)
        return result
