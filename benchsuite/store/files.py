"""Files that are written whole or not at all, and what is said where the machine cannot store them."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

_ROOM = 1 << 20
_NOT_THE_PROGRAM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class StorageError(OSError):
    """The machine cannot store a file of the host: a full disk and the like, whatever was computed.

    No property of what was computed: a run stops with it and marks no trial as failed.
    """


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Whatever the system refuses within becomes a `StorageError` that names this path."""
    try:
        yield
    except OSError as error:
        raise StorageError(error.errno, error.strerror or str(error), str(path)) from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it.

    Raises:
        StorageError: the system refuses it; the file is as it was before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Whatever has this name is not written through: it may be a link.
            temporary.unlink(missing_ok=True)
            with temporary.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def append_durably(path: Path, line: str) -> None:
    """Add a line to a file, made if absent, and wait until the disk has it.

    Raises:
        StorageError: the system refuses it, or it is no regular file; the file is as it was before.
    """
    with storing(path), own_file(path) as number:
        before = os.lseek(number, 0, os.SEEK_END)
        # A line that somebody left unfinished does not take this one with it.
        torn = before > 0 and os.pread(number, 1, before - 1) != b"\n"
        content = f"{chr(10) if torn else ''}{line}\n".encode()
        try:
            while content:
                content = content[os.write(number, content) :]
            os.fsync(number)
        except OSError:
            with suppress(OSError):
                os.ftruncate(number, before)
            raise


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a file for reading, if it is one: of a pipe that somebody left in its place nobody sees the end.

    Args:
        path: the file.
        follow: whether it may be a link.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a device, or a link that is not followed.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.EINVAL, "is a link", str(path)) from None
        raise
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(number, "rb")


def read_regular(path: Path, most: int | None = None, *, follow: bool = True) -> bytes:
    """All of a file, opened by `open_regular`; raises `OSError` for one of more than `most` bytes, too."""
    with open_regular(path, follow=follow) as file:
        content = file.read(-1 if most is None else most + 1)
    if most is not None and len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most >> 20} MiB", str(path))
    return content


@contextmanager
def own_file(path: Path) -> Iterator[int]:
    """A descriptor, to lock, read and write, of a file in a run directory; it is made if absent.

    The directory may come from a stranger, who must not lead the writing elsewhere.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or a device that somebody left in its place.
    """
    if path.is_symlink():
        raise OSError(errno.EINVAL, "is a link", str(path))
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield number
    finally:
        os.close(number)


def own_directory(path: Path) -> None:
    """Make a folder of a run directory if absent; a link in its place is taken away.

    Raises:
        StorageError: the system refuses it.
    """
    with storing(path):
        if path.is_symlink():
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)


def reserve(path: Path) -> None:
    """Take the room for all of a file that is filled through memory, where a full disk would be a signal.

    Raises:
        StorageError: there is not so much room.
    """
    with storing(path), path.open("rb+") as file:
        size = os.fstat(file.fileno()).st_size
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)


def cannot_store(error: BaseException, folder: Path) -> str | None:
    """Why an error says that the machine cannot store anything, or None where it says something else.

    An error of the host's own files says it. One of other code, such as a plugin's, is believed if a small
    file cannot be written into the folder either.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, StorageError):
            return described(cause)
        if isinstance(cause, OSError) and cause.errno in _NOT_THE_PROGRAM and not has_room(folder):
            return described(cause)
        seen.add(id(cause))
        cause = cause.__cause__
    return None


def described(error: OSError) -> str:
    """What the system said, with the path that it was about."""
    path = error.filename if isinstance(error.filename, str | bytes) else None
    where = "" if path is None else f"{os.fsdecode(path)}: "
    return f"{where}{error.strerror or error}"


def has_room(folder: Path) -> bool:
    """Whether a small file can be written into a folder; it is deleted again."""
    probe = folder / f".room.{os.getpid()}"
    try:
        write_atomically(probe, b"\1" * _ROOM)
        probe.unlink(missing_ok=True)
    except OSError:
        return False
    return True
