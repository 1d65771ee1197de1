"""Fingerprints of files."""

from __future__ import annotations

import hashlib
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


def test_files_by_their_paths_and_contents(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "one", tmp_path / "two"]
    (tmp_path / "a").mkdir()
    for file in files:
        file.write_bytes(b"first")
    before = benchsuite.files_fingerprint(tmp_path, files)
    assert benchsuite.files_fingerprint(tmp_path, files[::-1]) == before
    files[1].write_bytes(b"other")
    assert benchsuite.files_fingerprint(tmp_path, files) != before
    files[1].write_bytes(b"first")
    assert benchsuite.files_fingerprint(tmp_path, files) == before
    files[1].rename(tmp_path / "three")
    assert benchsuite.files_fingerprint(tmp_path, [files[0], tmp_path / "three"]) != before
    with pytest.raises(benchsuite.DataError, match=r"cannot read .*two: No such file"):
        benchsuite.files_fingerprint(tmp_path, files)


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(benchsuite.DataError, match=r"cannot read .*data: No such file"):
        benchsuite.file_fingerprint(tmp_path / "data")
    with pytest.raises(benchsuite.DataError, match="Is a directory"):
        benchsuite.file_fingerprint(tmp_path)
