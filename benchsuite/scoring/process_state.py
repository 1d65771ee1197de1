"""What a scorer could change of its process, beside the network and the random states."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ProcessState(NamedTuple):
    """The state at one moment.

    Attributes:
        settings: of torch, by the words that say what they are.
        environment: the environment's variables.
        folder: the current folder; None where it is gone.
        handlers: by signal, what handles it.
        functions: by namespace and name, the functions of torch that networks run.
    """

    settings: dict[str, Any]
    environment: dict[str, str]
    folder: str | None
    handlers: dict[int, Any]
    functions: dict[tuple[Any, str], Any]


def process_state() -> ProcessState:
    """The state as it is now."""
    return ProcessState(
        {words: read() for words, (read, _) in _SETTINGS.items()},
        dict(os.environ),
        _folder(),
        {number: signal.getsignal(number) for number in signal.valid_signals()},
        dict(_functions()),
    )


def restore(before: ProcessState) -> list[str]:
    """Bring the state back, and return what had changed, in words.

    Variables that were added to the environment stay and do not count: importing some libraries sets them.
    """
    now = process_state()
    changed = []
    for words, value in before.settings.items():
        if now.settings[words] != value:
            changed.append(f"{words} was changed")
            _SETTINGS[words][1](value)
    variables = sorted(
        name for name, value in before.environment.items() if now.environment.get(name) != value
    )
    if variables:
        shown = ", ".join(variables[:3]) + (f" and {len(variables) - 3} more" if len(variables) > 3 else "")
        changed.append(f"environment variables were changed ({shown})")
        os.environ.update({name: before.environment[name] for name in variables})
    if now.folder != before.folder:
        changed.append("the current folder was changed")
        if before.folder is not None:
            os.chdir(before.folder)
    handlers = [number for number, handler in before.handlers.items() if now.handlers[number] != handler]
    if handlers:
        changed.append(
            f"handlers of signals were changed ({', '.join(signal.Signals(n).name for n in handlers)})"
        )
        if threading.current_thread() is threading.main_thread():
            for number in handlers:
                if before.handlers[number] is not None:
                    signal.signal(number, before.handlers[number])
    replaced = [place for place, found in before.functions.items() if now.functions.get(place) is not found]
    if replaced:
        names = sorted({f"{getattr(space, '__name__', space)}.{name}" for space, name in replaced})
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        changed.append(f"functions of torch were replaced ({shown})")
        for space, name in replaced:
            setattr(space, name, before.functions[space, name])
    return changed


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "the mode of gradients": (torch.is_grad_enabled, lambda value: _set_gradients(enabled=value)),
    "torch's default type": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, torch.set_default_device),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the use of deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "cuDNN's determinism": (
        lambda: torch.backends.cudnn.deterministic,
        lambda value: setattr(torch.backends.cudnn, "deterministic", value),
    ),
    "cuDNN's search for kernels": (
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
    "the precision of products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
}


def _set_gradients(*, enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _functions() -> Iterator[tuple[tuple[Any, str], Any]]:
    """Functions in the namespaces that networks use, and what the classes of `torch.nn` do."""
    for name in dir(torch.Tensor):  # most are those of its base, which a class attribute would hide
        found = getattr(torch.Tensor, name)
        if callable(found) and not isinstance(found, type | MethodType | BuiltinMethodType):
            yield (torch.Tensor, name), found
    for space in (torch, torch.nn.functional, nn.Module, torch.autograd, torch.nn.init):
        for name, found in vars(space).items():
            # Compiling something makes torch wrap its own manual_seed.
            if callable(found) and not isinstance(found, type) and name != "manual_seed":
                yield (space, name), found
    for cls in vars(nn).values():
        if isinstance(cls, type) and issubclass(cls, nn.Module) and "forward" in vars(cls):
            yield (cls, "forward"), vars(cls)["forward"]
