"""Digests of files: correct after any change of the files or of the cached digests."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from benchsuite.store import file_digests as digests


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "benchsuite" / "file-digests.sqlite"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, by name."""
    seen: list[str] = []
    read = digests._read

    def watched(identity: tuple[bytes, int, int, int, int]) -> str:
        seen.append(Path(os.fsdecode(identity[0])).name)
        return read(identity)

    monkeypatch.setattr(digests, "_read", watched)
    return seen


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that a test need not wait until a file is old enough to be cached.
    monkeypatch.setattr(digests, "_RACY_SECONDS", -1.0)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"first")
    assert [digests.file_digest(file) for _ in range(3)] == [sha(b"first")] * 3
    assert reads == ["data"]


def test_another_process_need_not_read_it_either(tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"first")
    digests.file_digest(file)
    code = (
        "import sys; from pathlib import Path; from benchsuite.store import file_digests as d\n"
        "d._read = lambda identity: 'it was read'\nprint(d.file_digest(Path(sys.argv[1])))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == sha(b"first")


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_change_of_the_same_size_is_seen_whatever_its_time_says(tmp_path: Path, keep_time: bool) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"first")
    before = file.stat()
    digests.file_digest(file)
    file.write_bytes(b"other")
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests.file_digest(file) == sha(b"other")


def test_another_file_put_in_its_place_is_seen(tmp_path: Path) -> None:
    file, other = tmp_path / "data", tmp_path / "other"
    file.write_bytes(b"first")
    other.write_bytes(b"other")
    digests.file_digest(file)
    other.replace(file)
    assert digests.file_digest(file) == sha(b"other")


def test_a_link_stands_for_the_file_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    link = tmp_path / "link"
    link.symlink_to("one")
    assert digests.file_digest(link) == sha(b"one")
    link.unlink()
    link.symlink_to("two")
    assert digests.file_digest(link) == sha(b"two")


def test_a_file_that_just_changed_is_not_remembered(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_RACY_SECONDS", 60.0)
    file = tmp_path / "data"
    file.write_bytes(b"first")
    digests.file_digest(file)
    digests.file_digest(file)
    assert reads == ["data", "data"]


@pytest.mark.parametrize("damage", ["text", "empty", "table", "folder"])
def test_a_damaged_memory_costs_time_and_nothing_else(tmp_path: Path, cache: Path, damage: str) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"first")
    digests.file_digest(file)
    assert cache.is_file()
    cache.unlink()
    if damage == "text":
        cache.write_text("no database at all, and longer than a header of one" * 10)
    elif damage == "empty":
        cache.write_bytes(b"")
    elif damage == "table":
        with sqlite3.connect(cache) as connection:
            connection.execute("CREATE TABLE digests (path TEXT)")
        connection.close()
    else:
        cache.mkdir()
    for _ in range(3):
        assert digests.file_digest(file) == sha(b"first")


def test_a_cache_folder_that_cannot_be_made_costs_time_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    file = tmp_path / "data"
    file.write_bytes(b"first")
    assert digests.file_digest(file) == sha(b"first")


def test_many_files_come_in_their_order(tmp_path: Path, reads: list[str]) -> None:
    files = [tmp_path / f"{number}" for number in range(50)]
    for file in files:
        file.write_bytes(file.name.encode())
    expected = [sha(file.name.encode()) for file in files]
    assert digests.file_digests(files) == expected
    files[7].write_bytes(b"new")
    expected[7] = sha(b"new")
    assert digests.file_digests([*files, files[3]]) == [*expected, expected[3]]
    assert len(reads) == 51


def test_a_name_that_is_no_text_is_read_and_remembered(tmp_path: Path, reads: list[str]) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    file.write_bytes(b"first")
    assert digests.file_digest(file) == digests.file_digest(file) == sha(b"first")
    assert len(reads) == 1


def test_damaged_memory_that_cannot_be_deleted_costs_time_and_nothing_else(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"first")
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"no database" * 1000)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert digests.file_digest(file) == sha(b"first")
