"""The architecture: which package may import which, tested by reversing imports in a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = Path(sys.executable).with_name("lint-imports")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of all packages and of the import contracts."""
    for name in ("benchsuite", "plugins", "leaderboard"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(folder / name) for name in ("", "plugins", "leaderboard")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [str(LINT), "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_imports_run_one_way(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("benchsuite/training/trainer.py", "from benchsuite.scoring.scorer import Scorer\n"),
        ("benchsuite/store/files.py", "import benchsuite.contracts.layers\n"),
        (
            "benchsuite/metrics/cost.py",
            "def late():\n    from benchsuite.pruning.graph import PruningGraph\n",
        ),
        (
            "benchsuite/trials/facts.py",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from benchsuite.execution.jobs import Executor\n",
        ),
        ("benchsuite/trials/latency.py", "from benchsuite.publishing.merge import merge\n"),
        ("benchsuite/pruning/graph.py", "from benchsuite.pruning.tracing.trace import trace\n"),
        ("benchsuite/plan/trial.py", "import benchsuite_scorers.karnin\n"),
        ("plugins/benchsuite_scorers/karnin.py", "from benchsuite.contracts.layers import Layer\n"),
        ("benchsuite/newroom.py", ""),
    ],
)
def test_an_import_that_is_turned_around_is_found(copy: Path, file: str, text: str) -> None:
    path = copy / file
    path.write_text((path.read_text() if path.exists() else "") + "\n" + text)
    done = lint(copy)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout or "newroom" in done.stdout + done.stderr


def test_the_root_of_the_host_has_no_rooms_without_a_name() -> None:
    modules = {file.name for file in (ROOT / "benchsuite").glob("*.py*")}
    assert modules == {"__init__.py", "__init__.pyi", "_entry.py", "_version.py", "cli.py", "errors.py"}


def test_the_public_names_are_one_list() -> None:
    import benchsuite

    assert {"Scorer", "RegisterScorer", "RegisterModel", "RegisterDataset", "TrainingTrace"} <= set(
        dir(benchsuite)
    )
    assert set(benchsuite.__all__) <= set(dir(benchsuite))
    missing = [name for name in benchsuite.__all__ if getattr(benchsuite, name, None) is None]
    assert missing == []
    with pytest.raises(AttributeError, match="No benchsuite attribute Scorrer"):
        benchsuite.Scorrer  # noqa: B018 - looking it up is the test
