"""A finished run for the tests that spoil one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from small_runs import call, write_suite

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `small.toml` and its run of one trial, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    write_suite(folder, ["magnitude-l1"], ["one-shot"])
    done = call("run", "small.toml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current folder."""
    folder = tmp_path / "here"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder
