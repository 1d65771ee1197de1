"""Reading local checkpoints and loading them into a network."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import safetensors
import torch
from safetensors.torch import load_file

import benchsuite

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from torch import Tensor, nn

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts usually keep the state dict."""
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that data-parallel wrappers and the compiler put before every key."""
LISTED = 6


def load_checkpoint(network: nn.Module, path: Path) -> None:
    """Give the network the weights in a local file.

    Raises:
        DataError: the file is absent, malformed, or does not fit; the message names the wrong keys.
    """
    state = _without_prefixes(_read(path))
    problem = misfit(network, state)
    if problem:
        raise benchsuite.DataError(f"{path} does not fit the network: {problem}")
    network.load_state_dict(state, strict=False)  # missing keys were checked above


def misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Why a state dict does not fit the network; empty if it fits.

    Batch counters (`num_batches_tracked`) may be absent, since older checkpoints have none.
    """
    wanted = network.state_dict()
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in wanted]
    shapes = {
        k: f"{k} has shape {tuple(state[k].shape)} where the network has {tuple(wanted[k].shape)}"
        for k in wanted
        if k in state and state[k].shape != wanted[k].shape
    }
    found = [
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", list(shapes.values())),
        _head_advice(wanted, state, shapes),
    ]
    return "; ".join(part for part in found if part)


def _head_advice(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], misfits: Collection[str]) -> str:
    """A hint if only the last layer differs, and only in its number of classes; otherwise empty."""
    last = [key for key in wanted if wanted[key].dim() == 2][-1:]
    if not last or last[0] not in misfits:
        return ""
    head = last[0].removesuffix("weight")
    if (
        any(not key.startswith(head) for key in misfits)
        or state[last[0]].shape[1:] != wanted[last[0]].shape[1:]
    ):
        return ""
    return (
        f"the checkpoint tells {len(state[last[0]])} classes apart, the data set has {len(wanted[last[0]])}:"
        " use a checkpoint that was trained on these classes"
    )


def _listed(what: str, items: list[str]) -> str:
    if not items:
        return ""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return f"{len(items)} {what} ({', '.join(items[:LISTED])}{more})"


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise benchsuite.DataError(f"there is no checkpoint {path} (working directory {path.cwd()})")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise benchsuite.DataError(
            f"{path} is no checkpoint that can be read safely: it holds more than tensors, or is damaged;"
            " save the network's state_dict() with safetensors or torch.save"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, safetensors.SafetensorError) as error:
        raise benchsuite.DataError(f"{path} is not a checkpoint: {error}") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()
    ):
        raise benchsuite.DataError(
            f"{path} holds no state dict: it must map parameter names to tensors, alone or under one of"
            f" {', '.join(WRAPPERS)}"
        )
    return dict(content)


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
