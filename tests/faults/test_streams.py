"""Standard output that cannot be written, and too few file descriptors: a sentence, and nothing lost."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from small_runs import call, check_sentence, numbers_of, write_suite

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


PRINTING = {
    "help": ["--help"],
    "run": ["run", "small.toml"],
    "plan": ["plan", "small.toml"],
    "validate": ["validate", "small.toml"],
    "results": ["results", "runs/small"],
    "results-json": ["results", "runs/small", "--format", "json"],
    "leaderboard": ["leaderboard", "runs/small", "--output", "site"],
    "ui": ["ui", "runs/small"],
    "mlflow-sync": ["mlflow-sync", "runs/small"],
    "submit": ["submit", "runs/small"],
    "plugins": ["plugins"],
    "new-plugin": ["new-plugin", "mine"],
    "doctor": ["doctor"],
    "schema": ["schema"],
}


@FULL
@pytest.mark.parametrize(("soft", "hard", "code"), [(20, 20, 1), (100, 127, 1), (20, 128, 0), (64, 4096, 0)])
def test_too_few_file_descriptors_are_said(soft: int, hard: int, code: int, here: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    done = call(*PRINTING["leaderboard"], cwd=here, preexec_fn=limit)
    assert done.returncode == code, done.stderr
    check_sentence(done.stderr)
    if code:
        assert done.stderr == (
            f"benchsuite: this process may open {hard} files and needs 128; raise the limit (ulimit -n)\n"
        )


@pytest.mark.slow
def test_a_run_is_content_with_the_fewest_file_descriptors(finished: Path, tmp_path: Path) -> None:
    write_suite(tmp_path, ["magnitude-l1"], ["one-shot"])
    done = call(
        *PRINTING["run"],
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert numbers_of(tmp_path / "runs/small") == numbers_of(finished / "runs/small")
