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
    name, data_free = "tried", {data_free}
    def score(self, context):
        {body}
        return {{layer.name: layer.weight.detach().abs().flatten(1).sum(1) for layer in context.layers}}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Tried)
"""


@pytest.fixture
def check(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    def run(body: str, top: str = "", *options: str, data_free: bool = False) -> tuple[int, list[str]]:
        file = tmp_path / "tried.py"
        file.write_text(PLUGIN.format(body=body, top=top, data_free=data_free))
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
    assert said in lines[0]
    if "raise" in body:
        assert lines[0].endswith("(tried.py:9)"), "where in the plugin"
    others = ", ".join(name for name in CHECKS if name != "networks")
    assert lines[1:] == [f"tried: not checked: {others}"], "the same again tells nothing more"


def test_after_a_check_that_ends_the_process_the_others_are_tried(check) -> None:
    code, lines = check("if context.layers[0].weight.dtype.itemsize == 8: os._exit(0)")
    assert code == 1
    assert [line.split(": ")[1] for line in lines] == list(CHECKS)
    assert [line for line in lines if "exited with code 0" in line] == [lines[5]]
    assert lines[5].startswith("tried: double precision: ")


def test_what_could_not_be_checked_is_not_said_to_be_ok(check) -> None:
    sampled = "return {l.name: torch.rand(l.units, generator=context.generator) for l in context.layers}"
    code, lines = check(f"import torch; {sampled}", "", data_free=True)
    assert code == 0
    assert {line.split(": ")[1]: line.split(": ", 2)[2] for line in lines} == {
        **dict.fromkeys(CHECKS, "ok"),
        "permutation": "not checked: its scores are random",
        "dead unit": "not checked: it is data_free",
        "gpu": "not checked: there is no GPU here",
    }
    linear = "if context.layers[0].kind == 'conv': raise benchsuite.Unsupported('only linear layers')"
    code, lines = check(linear)
    assert code == 0
    assert lines[0] == "tried: networks: ok"
    assert lines[1] == "tried: determinism: not checked: its network is not served: only linear layers"


def test_a_check_has_a_limit_of_time_and_is_the_last_one(check) -> None:
    code, lines = check("time.sleep(60)", "", "--timeout", "1")
    assert code == 1
    assert lines[0].startswith("tried: networks: its process did not answer within 1 s ")
    assert lines[0].endswith("; --timeout allows more")
    assert lines[1:] == [f"tried: not checked: {', '.join(list(CHECKS)[1:])}"]


def test_other_plugins_are_said_to_be_registered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import benchsuite\n\nclass Net(benchsuite.ModelPlugin):\n    name = 'net'\n"
        "    def build(self, input_shape, classes): ...\n\n"
        "@benchsuite.hookimpl\ndef benchsuite_register_models(register):\n    register(Net)\n"
    )
    assert cli.main(["check-plugin", str(file)]) == 0
    assert capsys.readouterr().out == "net: model: registered; the checks are for scorers and metrics\n"


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
