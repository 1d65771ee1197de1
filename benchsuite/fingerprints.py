"""Fingerprints of local files, for the content keys of what is computed from them."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from benchsuite.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; a file is read again only when its size or time changes.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        status = path.stat()
        return _digest(path.resolve(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


@cache
def _digest(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 - they make the cache's key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
