"""What records say of the source that ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import benchsuite
from benchsuite.commands.host import _commit, host_provenance


def git(folder: Path, *words: str) -> str:
    names = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", "-C", str(folder), *names, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_is_that_of_the_source_tree_and_says_whether_it_was_changed(tmp_path: Path) -> None:
    assert _commit(tmp_path) is None, "no source tree"
    git(tmp_path, "init", "-q")
    version = tmp_path / "_version.py"
    version.write_text("1")
    assert _commit(tmp_path) is None, "an installed copy inside of another project"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    assert _commit(tmp_path) == git(tmp_path, "rev-parse", "--short=12", "HEAD")
    version.write_text("2")
    assert _commit(tmp_path) == git(tmp_path, "rev-parse", "--short=12", "HEAD") + "-dirty"


def test_records_of_a_checkout_have_its_commit() -> None:
    source = Path(benchsuite.__file__).parent
    if not (source.parent / ".git").exists():
        pytest.skip("benchsuite does not run from a checkout here")
    head = git(source, "rev-parse", "--short=12", "HEAD")
    assert host_provenance()["commit"].removesuffix("-dirty") == head
