"""Parametrised weights replaced by the plain ones that reach the operation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import exact_float32
from benchsuite.metrics.cost import evaluating
from benchsuite.pruning.trial_change import equal_outputs, run_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchsuite.contracts.inputs import Inputs


@dataclass(frozen=True)
class _Parametrised:
    """A weight that a network computes anew in every forward pass.

    Attributes:
        owner: dotted name of its module.
        module: the module.
        name: the weight's name there.
        kind: what computes it.
        removal: the call that makes it a plain weight.
        value: computes it.
        remove: makes it a plain weight.
    """

    owner: str
    module: nn.Module
    name: str
    kind: str
    removal: str
    value: Callable[[], Tensor]
    remove: Callable[[], Any]

    @property
    def label(self) -> str:
        """The weight's dotted name."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


def fold(model: nn.Module, example: Inputs) -> dict[str, str]:
    """Replace every parametrised weight by the plain one that it is in evaluation mode, in place.

    These are weights under `torch.nn.utils.parametrize`, under the older `weight_norm` and `spectral_norm`,
    and what `torch.nn.utils.prune` has left. Pruning removes rows of a weight or holds entries at zero, which
    means something for a plain weight alone: the rows of a weight divided by its norm depend on each other.

    Args:
        model: the network; one without such weights is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        By dotted name of each weight, what computed it.

    Raises:
        Unsupported: the network computes something else with the plain weights, or they cannot be had.
    """
    found: dict[str, list[str]] = {}
    if not any(True for _ in _parametrised(model)):
        return {}
    with evaluating(model), torch.no_grad(), exact_float32():
        # Twice, since a hook that reads what a later hook computes is one pass behind after loading weights.
        run_once(model, example[:1])
        before = run_once(model, example[:1])
        removals: list[str] = []
        # One weight may be computed in several steps; the last one that was added is removed first.
        while (last := next(_parametrised(model), None)) is not None:
            found.setdefault(last.label, []).append(last.kind)
            removals.append(last.removal)
            _make_plain(last)
        after = run_once(model, example[:1])
    if not equal_outputs(before, after):
        raise Unsupported(
            f"the network computes something else once {', '.join(found)} are plain weights; call "
            f"{' and '.join(dict.fromkeys(removals))} in the model's build()"
        )
    return {label: ", ".join(reversed(kinds)) for label, kinds in found.items()}


def _make_plain(weight: _Parametrised) -> None:
    module, name = weight.module, weight.name
    trained = any(parameter.requires_grad for parameter in module.parameters())
    try:
        value = weight.value().detach().clone()
        weight.remove()
    except Exception as error:
        # A parametrisation is foreign code.
        raise Unsupported(
            f"{weight.label} is computed by {weight.kind} and cannot be made a plain weight "
            f"({type(error).__name__}: {error}); call {weight.removal} in the model's build()"
        ) from error
    for place in (module._parameters, module._buffers, module.__dict__):
        place.pop(name, None)
    module.register_parameter(name, nn.Parameter(value, trained))
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()


def _parametrised(model: nn.Module) -> Iterator[_Parametrised]:
    """The parametrised weights of a network, of each module those that were added last first."""
    for owner, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for name, steps in [*module.parametrizations.items()]:
                yield _under_parametrize(owner, module, name, steps)
        for hook in reversed([*module._forward_pre_hooks.values()]):
            if (found := _under_hook(owner, module, hook)) is not None:
                yield found


def _under_parametrize(owner: str, module: nn.Module, name: str, steps: Any) -> _Parametrised:
    return _Parametrised(
        owner,
        module,
        name,
        kind=", ".join(type(step).__name__.removeprefix("_") for step in steps),
        removal=f'torch.nn.utils.parametrize.remove_parametrizations({_path(owner)}, "{name}")',
        value=partial(getattr, module, name),
        remove=partial(parametrize.remove_parametrizations, module, name, leave_parametrized=True),
    )


def _under_hook(owner: str, module: nn.Module, hook: Any) -> _Parametrised | None:
    """The weight that a hook of torch computes before each forward pass, or None."""
    value: Callable[[], Tensor]
    remove: Callable[..., Any]
    if isinstance(hook, WeightNorm):
        name, kind, call = hook.name, "weight_norm", "torch.nn.utils.remove_weight_norm"
        value, remove = partial(hook.compute_weight, module), torch.nn.utils.remove_weight_norm
    elif isinstance(hook, SpectralNorm):
        name, kind, call = hook.name, "spectral_norm", "torch.nn.utils.remove_spectral_norm"
        value = partial(hook.compute_weight, module, do_power_iteration=False)
        remove = _remove_spectral_norm
    elif isinstance(hook, prune.BasePruningMethod):
        name, kind = hook._tensor_name, f"prune.{type(hook).__name__}"
        call, value, remove = "torch.nn.utils.prune.remove", partial(hook.apply_mask, module), prune.remove
    else:
        return None
    removal = f'{call}({_path(owner)}, "{name}")'
    return _Parametrised(owner, module, name, kind, removal, value, partial(remove, module, name))


def _remove_spectral_norm(module: nn.Module, name: str) -> None:
    torch.nn.utils.remove_spectral_norm(module, name)
    # Torch looks for its hook on loading a state, but does not see it in the wrapper that it put around it.
    for key, wrapped in [*module._load_state_dict_pre_hooks.items()]:
        hook = getattr(wrapped, "hook", None)
        if isinstance(hook, SpectralNormLoadStateDictPreHook) and hook.fn.name == name:
            del module._load_state_dict_pre_hooks[key]


def _path(owner: str) -> str:
    return f'network.get_submodule("{owner}")' if owner else "network"
