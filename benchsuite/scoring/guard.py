"""Checks that a plugin does not change the network and the random states."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchsuite.errors import PluginError
from benchsuite.scoring.process_state import process_state, restore

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


@contextmanager
def untouched(model: nn.Module, culprit: str) -> Iterator[None]:
    """Raise `PluginError` if the block changed the network or the process; both are restored.

    Compared are parameters and buffers (content, type, identity, `requires_grad`, `.grad`), the modules,
    their training flags and hooks, the generators of torch (CPU and every GPU) and numpy, and what
    `benchsuite.scoring.process_state` knows. The state of the module `random` is restored without an error,
    since importing some libraries draws from it.
    """
    tensors = _tensors(model)
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    flags = {name: tensor.requires_grad for name, tensor in tensors.items()}
    gradients = {name: tensor.grad for name, tensor in tensors.items() if tensor.is_leaf}
    modules = dict(model.named_modules())
    training = {name: module.training for name, module in modules.items()}
    hooks = {name: _hooks(module) for name, module in modules.items()}
    states = _random_states()
    process = process_state()
    try:
        yield
    finally:
        elsewhere = restore(process)
        states_now = _random_states()
        drawn = [name for name in states if name != "random" and not _same(states_now[name], states[name])]
        _restore_random_states(states)
    problems = [f"the global generator of {name} was used (use context.generator)" for name in drawn]
    problems += elsewhere
    now = _tensors(model)
    problems += [f"{name} was added" for name in now if name not in tensors]
    for name, tensor in tensors.items():
        if now.get(name) is not tensor:
            problems.append(f"{name} was {'replaced' if name in now else 'removed'}")
            continue
        if tensor.shape != copies[name].shape or not torch.equal(
            tensor.detach().nan_to_num(), copies[name].nan_to_num()
        ):
            problems.append(f"the values of {name} changed")
            if tensor.shape == copies[name].shape:
                with torch.no_grad():
                    tensor.copy_(copies[name])
        if tensor.requires_grad != flags[name]:
            problems.append(f"requires_grad of {name} changed")
            tensor.requires_grad_(flags[name])
        if tensor.is_leaf and tensor.grad is not gradients[name]:
            problems.append(f"{name}.grad was set")
            tensor.grad = gradients[name]
    modules_now = dict(model.named_modules())
    problems += [
        f"module {name} was changed" for name in modules if modules_now.get(name) is not modules[name]
    ]
    for name, module in modules.items():
        where = name or "the network"
        if module.training != training[name]:
            problems.append(f"{where} was switched to {'training' if module.training else 'evaluation'}")
            module.training = training[name]
        if _hooks(module) != hooks[name]:
            problems.append(f"a hook of {where} was left or removed")
            for kind in _HOOKS:
                registered = getattr(module, kind)
                for key in [key for key in registered if (kind, key) not in hooks[name]]:
                    del registered[key]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise PluginError(f"{culprit} did not leave things as they were: {shown}")


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _hooks(module: nn.Module) -> set[tuple[str, int]]:
    return {(kind, key) for kind in _HOOKS for key in getattr(module, kind)}


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(legacy=True),
        "random": random.getstate(),
    }
    if torch.cuda.is_initialized():
        states["torch.cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["random"])
    if "torch.cuda" in states:
        torch.cuda.set_rng_state_all(states["torch.cuda"])


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, right))
    if isinstance(left, (tuple, list)):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
