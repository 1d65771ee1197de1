"""Where activation tables and gradient statistics are kept: in memory, or in files that workers share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import weakref
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from benchsuite.store import stages
from benchsuite.store.file_digests import file_digest, read_digest
from benchsuite.store.files import own_file, read_regular, reserve, storing, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Array = npt.NDArray[np.float32]


class TableStore:
    """Arrays of float32, and named tensors of any type, under content keys.

    With a folder, every entry is a file in it, written under another name and then renamed, so that worker
    processes can share it and never see an incomplete one. Without a folder, entries are kept in memory up to
    a share of it, and beyond that in a temporary folder that is deleted with the store.

    Args:
        folder: where to keep files; created when first needed.
        shared: a folder that another store has filled. Entries are found there too; nothing is written to it.
        memory_share: share of the machine's memory that entries may take before they go to disk.
    """

    def __init__(
        self, folder: Path | None = None, shared: Path | None = None, memory_share: float = 0.2
    ) -> None:
        self._folder, self._shared = folder, shared
        self._budget = memory_share * psutil.virtual_memory().total
        self._arrays: dict[str, Array] = {}
        self._tensors: dict[str, dict[str, Tensor]] = {}

    def load(self, key: str) -> Tensor | None:
        """Return the array as a CPU tensor, mapped from its file if it has one, or None if absent."""
        array = self._arrays.get(key)
        if array is None and (path := self._found(key, "npy")) is not None:
            # Copy-on-write: the tensor is writable, but the file is not changed.
            array = self._arrays[key] = np.load(path, mmap_mode="c")
        return None if array is None else torch.from_numpy(array)

    def _found(self, key: str, ending: str) -> Path | None:
        """The whole file of an entry, if there is one."""
        folders = (self._folder, self._shared, self.__dict__.get("_temporary"))
        paths = (self._path(folder, key, ending) for folder in folders if folder is not None)
        return next((path for path in paths if _is_whole(path)), None)

    @contextmanager
    def filling(self, keys: Sequence[str], shape: tuple[int, ...]) -> Iterator[list[Array]]:
        """Yield one empty array per key to be filled; they are stored if the block raises no error."""
        folder = self._home(float(np.prod(shape, dtype=np.float64)) * 4 * len(keys))
        if folder is None:
            arrays: list[Array] = [np.empty(shape, dtype=np.float32) for _ in keys]
            yield arrays
            self._arrays.update(zip(keys, arrays, strict=True))
            return
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        asides = [folder / f"{self._path(folder, key).stem}.{os.getpid()}.part" for key in keys]
        try:
            mapped = [_mapped(path, shape) for path in asides]
            yield mapped
            for array in mapped:
                array.flush()
            with storing(folder):
                for key, aside in zip(keys, asides, strict=True):
                    aside.replace(self._path(folder, key))
                    _sum_up(self._path(folder, key))
                    self._arrays[key] = np.load(self._path(folder, key), mmap_mode="c")
        finally:
            for aside in asides:
                aside.unlink(missing_ok=True)

    def load_tensors(self, key: str) -> dict[str, Tensor] | None:
        """Return a copy of the tensors on the CPU, or None if absent."""
        if key in self._tensors:
            return {name: tensor.clone() for name, tensor in self._tensors[key].items()}
        path = self._found(key, "safetensors")
        return None if path is None else stages.load_tensors(path)

    def save_tensors(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Store named tensors."""
        folder = self._home(float(sum(tensor.nbytes for tensor in tensors.values())))
        if folder is None:
            self._tensors[key] = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = self._path(folder, key, "safetensors")
        stages.save_tensors(path, tensors)
        _sum_up(path)

    def _home(self, size: float) -> Path | None:
        """Return the folder for new entries of that many bytes; None for memory."""
        if self._folder is not None:
            return self._folder
        held = sum(array.nbytes for array in self._arrays.values() if not isinstance(array, np.memmap))
        held += sum(tensor.nbytes for entry in self._tensors.values() for tensor in entry.values())
        return self._temporary if size + held > self._budget else None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes that share the folder from filling it during the block."""
        if self._folder is None:
            yield
            return
        with ExitStack() as held:
            with storing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                fcntl.flock(held.enter_context(own_file(self._folder / ".lock")), fcntl.LOCK_EX)
            yield

    @cached_property
    def _temporary(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="benchsuite-tables-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @staticmethod
    def _path(folder: Path, key: str, ending: str = "npy") -> Path:
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.{ending}"


def _mapped(path: Path, shape: tuple[int, ...]) -> Any:
    """An array in a new file whose room on the disk is taken at once."""
    with storing(path):
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    reserve(path)
    return array


def _sum_up(path: Path) -> None:
    """Leave the checksum of a file beside it."""
    write_atomically(path.with_suffix(f"{path.suffix}.sha256"), read_digest(path))


def _is_whole(path: Path) -> bool:
    """Whether a file is there as it was left; one that is not is as absent, and is written anew."""
    try:
        expected = read_regular(path.with_suffix(f"{path.suffix}.sha256"))
        return file_digest(path).encode() == expected
    except OSError:
        return False


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """Hash names, shapes, types and contents of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
