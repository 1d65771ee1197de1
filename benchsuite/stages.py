"""Stages on disk: folders of the run directory that hold what trials share, complete or not at all."""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchsuite.errors import BenchsuiteError
from benchsuite.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

_FACTS = "stage.json"


@contextmanager
def stage(folder: Path) -> Iterator[dict[str, Any] | None]:
    """Give the facts of a complete stage, or None to the one process that shall make it.

    Others that want the same stage wait meanwhile. The maker ends with `complete`.
    """
    facts = read_facts(folder)
    if facts is not None:
        yield facts
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield read_facts(folder)


def complete(folder: Path, facts: Mapping[str, Any]) -> None:
    """Declare a stage complete: its files are all there."""
    write_atomically(folder / _FACTS, json.dumps(facts, indent=1))


def read_facts(folder: Path) -> dict[str, Any] | None:
    """The facts of a complete stage, or None where it is not complete."""
    try:
        facts = json.loads((folder / _FACTS).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BenchsuiteError(
            f"{folder / _FACTS} is damaged ({error}); delete {folder} to make it anew"
        ) from error
    assert isinstance(facts, dict)
    return facts


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors in one step; tensors that share memory are stored apart."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote; raises `BenchsuiteError` for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BenchsuiteError(f"{path} is damaged ({error}); delete {path.parent} to make it anew") from error
