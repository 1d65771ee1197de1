"""Completion as the shells ask for it, and what it must not do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchsuite.cli import COMMANDS
from benchsuite.commands.completion import SHELLS
from benchsuite.store.keys import content_key
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

DONE, FAILED = content_key("done"), content_key("failed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite and the run directory that it has."""
    folder = tmp_path_factory.mktemp("somewhere")
    (folder / "tiny.toml").write_text("[suite]\nname = 'tiny'\n")
    (folder / "other.txt").touch()
    axes = {"dataset": "digits", "model": "mlp", "seed": 3, "scorer": "snip", "sparsity": 0.5, "draw": 0}
    run = RunDirectory(folder / "runs" / "tiny")
    with run.locked():
        run.append(TrialRecord(DONE, axes, "done", metrics={"accuracy/top1": 0.5, "cost/macs": 1.0}))
        run.append(TrialRecord(FAILED, axes, "failed", error="no"))
    return folder


def offered(line: str, folder: Path) -> list[str]:
    """What the shell is told at the end of this line."""
    answer = folder / "answer"
    answer.unlink(missing_ok=True)
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
        "COMP_TYPE": "9",
    }
    command = [sys.executable, "-m", "benchsuite.cli"]
    done = subprocess.run(command, env=os.environ | asked, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return [word.strip() for word in answer.read_text().split("\n") if word.strip()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("benchsuite re", ["results"]),
        ("benchsuite results runs/tiny --fo", ["--format"]),
        ("benchsuite results runs/tiny --format ", ["table", "csv", "json"]),
        ("benchsuite results runs/tiny --by scorer,se", ["scorer,seed"]),
        ("benchsuite results runs/tiny --metrics cost", ["cost/macs"]),
        ("benchsuite results runs/tiny --filter seed=", ["seed=3"]),
        ("benchsuite results runs/tiny --filter scorer!=sni", ["scorer\\!=snip"]),  # as bash wants it
        ("benchsuite results runs/tiny --filter scorer=lamp,sni", ["scorer=lamp,snip"]),
        ("benchsuite results runs/tiny --filter scorer=lamp,dra", ["scorer=lamp,draw="]),
        ("benchsuite run tiny.toml --filter dataset=fashion", ["dataset=fashion-mnist"]),
        (f"benchsuite export runs/tiny {DONE[:4]}", [DONE]),
        (f"benchsuite export runs/tiny {FAILED[:4]}", []),
        (f"benchsuite run tiny.toml --again {DONE[:4]}", [DONE]),
        ("benchsuite run ti", ["tiny.toml"]),
        ("benchsuite results nowhere --by ", []),
    ],
)
def test_the_shell_is_offered_what_fits(folder, line, words):
    assert offered(line, folder) == words


def test_all_commands_are_offered(folder):
    assert set(offered("benchsuite ", folder)) >= set(COMMANDS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_a_value_after_an_equals_sign(folder):
    program = folder / "bin" / "benchsuite"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m benchsuite.cli "$@"\n')
    program.chmod(0o755)
    line = "benchsuite results runs/tiny --filter scorer=sn"
    script = f"""
eval "$(benchsuite completion bash)"
COMP_LINE='{line}' COMP_POINT={len(line)} COMP_TYPE=9
COMP_WORDS=(benchsuite results runs/tiny --filter scorer = sn) COMP_CWORD=6
_python_argcomplete benchsuite sn =
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"PATH": path}, cwd=folder, capture_output=True, text=True
    )
    assert done.stdout.split() == ["snip"], done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_code_for_the_shell(shell):
    command = [sys.executable, "-m", "benchsuite.cli", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "_ARGCOMPLETE" in done.stdout
    if (program := shutil.which(shell)) is not None:
        checked = subprocess.run([program, "-n"], input=done.stdout, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_a_tab_imports_nothing_heavy_and_runs_no_stranger(folder):
    (folder / "strange.py").write_text("open('was-run', 'w')\n")
    assert offered("benchsuite run tiny.toml --plugin strange.py --filter scorer=sni", folder) == [
        "scorer=snip"
    ]
    assert not (folder / "was-run").exists()
    script = (
        "import argparse, sys\nfrom benchsuite.commands.completers import filters\n"
        "assert filters('scorer=sn', argparse.Namespace(suite='tiny.toml'))\n"
        "heavy = {'torch', 'mlflow', 'pandas'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[1]\n", b'{"key": "\\u001b[31m"}\n'])
def test_what_cannot_be_read_offers_nothing(tmp_path, content):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "results.jsonl").write_bytes(content)
    assert offered("benchsuite export runs ", tmp_path) == []
    (tmp_path / "bad.toml").write_bytes(content)
    assert offered("benchsuite run bad.toml --again ", tmp_path) == []
