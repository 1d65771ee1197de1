"""Files of a run directory as they are, read and deleted without following a link out of it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchsuite.store.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_DEEPEST = 8
"""Folders of stages are two deep; what is nested deeper was not made by a run."""


@dataclass(frozen=True)
class Contents:
    """What a folder holds.

    Attributes:
        files: by path within the folder, the bytes that each file takes.
        foreign: paths of what is neither a file nor a folder, such as links, and of what cannot be looked at.
    """

    files: dict[str, int] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What the files take together."""
        return sum(self.files.values())


def contents_of(folder: Path) -> Contents:
    """Everything below a folder; links are named and not followed."""
    files: dict[str, int] = {}
    foreign: list[str] = []
    waiting = [("", 0)]
    while waiting:
        below, depth = waiting.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if entry.is_dir(follow_symlinks=False) and depth < _DEEPEST:
                        waiting.append((f"{name}/", depth + 1))
                    elif entry.is_file(follow_symlinks=False):
                        files[name] = taken(entry.stat(follow_symlinks=False))
                    else:
                        foreign.append(name)
        except OSError:
            foreign.append(below or ".")
    return Contents(files, tuple(sorted(foreign)))


def entries_of(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders right in a folder, and of all else in it, links among them; raises `OSError`."""
    folders: list[str] = []
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (folders if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
    return sorted(folders), sorted(others)


def files_in(folder: Path) -> list[Path]:
    """The regular files right in a folder, sorted: no links, and none of a folder that is a link itself."""
    if folder.is_symlink():
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return []


def taken(status: os.stat_result) -> int:
    """The bytes that a file takes on the disk: of one with holes less than its length."""
    return min(status.st_size, status.st_blocks * 512)


def digest_of(path: Path) -> str:
    """SHA-256 of a regular file, hexadecimal, by reading it; raises `OSError`."""
    with open_regular(path, follow=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_files(folder: Path, names: Iterable[str]) -> int:
    """Delete files and links right in a folder, and return the bytes that they took; raises `OSError`.

    Neither the folder itself nor anything in it is followed if it is a link.
    """
    freed = 0
    descriptor = os.open(folder, _FOLDER)
    with closing(_Descriptor(descriptor)):
        for name in names:
            if "/" in name or name in (".", ".."):
                raise OSError(errno.EINVAL, "is no name of a file", name)
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            os.unlink(name, dir_fd=descriptor)
            freed += taken(status)
    return freed


def remove_folder(parent: Path, name: str) -> int:
    """Delete a folder of `parent` with all that it holds, and return the bytes that it took.

    A link within it is deleted and not followed; a folder that is itself a link stays.

    Raises:
        OSError: it could not be deleted.
    """
    if "/" in name or name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "is no name of a folder", name)
    freed = contents_of(parent / name).bytes
    descriptor = os.open(parent, _FOLDER)
    with closing(_Descriptor(descriptor)):
        try:
            shutil.rmtree(name, dir_fd=descriptor)
        except RecursionError:
            raise OSError(errno.ELOOP, "is nested too deeply", name) from None
    return freed


@dataclass(frozen=True)
class _Descriptor:
    """An open descriptor as something that can be closed."""

    number: int

    def close(self) -> None:
        os.close(self.number)
