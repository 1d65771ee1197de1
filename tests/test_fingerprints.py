"""Fingerprints of files."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

import benchsuite

if TYPE_CHECKING:
    from pathlib import Path


def test_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"first")
    assert benchsuite.file_fingerprint(file) == hashlib.sha256(b"first").hexdigest()
    file.write_bytes(b"second")
    assert benchsuite.file_fingerprint(file) == hashlib.sha256(b"second").hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    """Shown by changing the content behind an unchanged size and time."""
    file = tmp_path / "data"
    file.write_bytes(b"first")
    before = file.stat()
    first = benchsuite.file_fingerprint(file)
    file.write_bytes(b"other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert benchsuite.file_fingerprint(file) == first


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(benchsuite.DataError, match=r"cannot read .*data: No such file"):
        benchsuite.file_fingerprint(tmp_path / "data")
    with pytest.raises(benchsuite.DataError, match="Is a directory"):
        benchsuite.file_fingerprint(tmp_path)
