"""SHA-256 of files, remembered between processes, so that unchanged files are not read again."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from benchsuite.store.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_RACY_SECONDS = 2.0
"""A file that changed so recently can change again without a new time of change: it is not remembered."""
_BUSY_SECONDS = 5.0

_Identity = tuple[bytes, int, int, int, int]
"""Path, size, time of the last change of content and of anything (both in ns), and inode."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal.

    The file is read again only if its size, a time of change or its inode differ from the last time, which
    is remembered in the user's cache folder.

    Raises:
        OSError: the file cannot be read.
    """
    return file_digests([path])[0]


def file_digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of many files, as `file_digest` gives each.

    Raises:
        OSError: a file cannot be read.
    """
    folders: dict[Path, str] = {}
    identities = [_identity(path, folders) for path in paths]
    known = _remembered(identities)
    unknown = [identity for identity in dict.fromkeys(identities) if identity not in known]
    if unknown:
        # The C code that hashes and the system calls that read leave the interpreter's lock.
        with ThreadPoolExecutor() as pool:
            found = dict(zip(unknown, pool.map(_read, unknown), strict=True))
        _remember(found)
        known |= found
    return [known[identity] for identity in identities]


def read_digest(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal, by reading it.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(path: Path, folders: dict[Path, str]) -> _Identity:
    """What tells this state of a file from others. Real paths of folders are looked up once."""
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # it may have no end
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    folder = folders.get(path.parent)
    if folder is None:
        folder = folders[path.parent] = os.path.realpath(path.parent)
    where = os.fsencode(f"{folder}/{path.name}")  # names of files need not be text
    return where, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _read(identity: _Identity) -> str:
    return read_digest(Path(os.fsdecode(identity[0])))


def _memory_file() -> Path:
    return Path(platformdirs.user_cache_dir("benchsuite")) / "file-digests.sqlite"


def _open() -> sqlite3.Connection:
    file = _memory_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=_BUSY_SECONDS)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS digests "
            "(path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, inode INTEGER, "
            "sha256 TEXT)"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _remembered(identities: Iterable[_Identity]) -> dict[_Identity, str]:
    """What is remembered of these files as they are now; nothing where the memory cannot be used."""
    found: dict[_Identity, str] = {}
    question = "SELECT size, modified, changed, inode, sha256 FROM digests WHERE path = ?"
    # A memory that is damaged, locked or cannot be made costs time and nothing else.
    with suppress(OSError, sqlite3.Error), closing(_open()) as connection:
        for identity in identities:
            row = connection.execute(question, (identity[0],)).fetchone()
            if row is not None and tuple(row[:4]) == identity[1:]:
                found[identity] = str(row[4])
    return found


def _remember(found: dict[_Identity, str]) -> None:
    newest = time.time_ns() - int(_RACY_SECONDS * 1e9)
    settled = [
        (*identity, digest) for identity, digest in found.items() if max(identity[2], identity[3]) < newest
    ]
    if not settled:
        return
    try:
        with closing(_open()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", settled)
    except sqlite3.DatabaseError as error:
        if not isinstance(error, sqlite3.OperationalError):  # damaged, and not only busy: begin anew
            with suppress(OSError):  # where it cannot be deleted, files are read again next time
                _memory_file().unlink(missing_ok=True)
    except OSError:
        return  # a cache folder that cannot be written: files are read again next time
