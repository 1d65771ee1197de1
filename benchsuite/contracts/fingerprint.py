"""Fingerprints of local files, for the content keys of what is computed from them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import DataError
from benchsuite.store.file_digests import file_digest, file_digests

if TYPE_CHECKING:
    from collections.abc import Sequence


def file_fingerprint(path: Path | str) -> str:
    """SHA-256 of a file's content, hexadecimal; a file is read again only when its size or time changes.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        return file_digest(Path(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def files_fingerprint(root: Path, files: Sequence[Path]) -> str:
    """SHA-256 over the paths, relative to `root`, and the contents of files, hexadecimal.

    As with `file_fingerprint`, only files whose size or time changed are read again.

    Raises:
        DataError: a file is not there, or cannot be read.
    """
    try:
        contents = file_digests(files)
    except OSError as error:
        raise DataError(f"cannot read {error.filename or root}: {error.strerror or error}") from error
    digest = hashlib.sha256()
    for file, content in sorted(zip((f.relative_to(root).as_posix() for f in files), contents, strict=True)):
        digest.update(f"{file}\0{content}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
