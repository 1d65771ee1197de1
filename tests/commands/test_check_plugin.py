"""`check-plugin` on scorers that misbehave: each is a failed check, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchsuite import cli
from benchsuite.testing import CHECKS

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
import benchsuite, os, sys, time
{top}

class Tried(benchsuite.Scorer):
    \"\"\"Tried.\"\"\"
    name = "tried"
    def score(self, context):
        {body}
        return {{layer.name: layer.weight.detach().abs().flatten(1).sum(1) for layer in context.layers}}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Tried)
"""


@pytest.fixture
def check(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    def run(body: str, top: str = "", *options: str) -> tuple[int, list[str]]:
        file = tmp_path / "tried.py"
        file.write_text(PLUGIN.format(body=body, top=top))
        code = cli.main(["check-plugin", str(file), *options])
        out, err = capfd.readouterr()
        assert "\x1b" not in out + err
        assert not err
        return code, out.splitlines()

    return run


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os._exit(0)", "its process exited with code 0 when it was asked for its check"),
        ("os.kill(os.getpid(), 11)", "its process was killed by SIGSEGV"),
        ("sys.exit(0)", "SystemExit: 0"),
        (r"raise ValueError('\x1b[31mred \x1b]0;title\x07')", "ValueError"),
    ],
)
def test_what_ends_a_process_is_a_failed_check(check, body: str, said: str) -> None:
    code, lines = check(body)
    assert code == 1
    assert len(lines) == len(CHECKS), "one after the other is tried"
    failed = [line for line in lines if said in line]
    assert len(failed) >= len(CHECKS) - 2, "not the check for GPUs, and not always that for data"
    if "raise" in body:
        assert "(tried.py:9)" in failed[0], "where in the plugin"


def test_a_check_has_a_limit_of_time(check) -> None:
    code, lines = check("time.sleep(60)", "", "--timeout", "1")
    assert code == 1
    assert "did not answer within 1 s" in lines[0]


def test_what_it_prints_does_not_reach_the_terminal(check) -> None:
    noise = r"print('\x1b[2J', 'noise'); os.write(2, b'\x1b[31mred')"
    code, lines = check(noise, noise)
    assert code == 0
    assert all(line.endswith(("ok", "no GPU here")) for line in lines)


@pytest.mark.parametrize("top", ["os._exit(3)", "raise RuntimeError('no')", "x = ("])
def test_what_does_not_load_is_said(check, top: str) -> None:
    code, lines = check("pass", top)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("tried: ")
