"""Suite files from anywhere: every one is a plan, or an error that a person reads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchsuite import cli
from benchsuite.errors import UsageError
from benchsuite.plan.contenders import check_size, most_cells
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover_shipped
from benchsuite.suite import load_suite

SUITES = sorted((Path(__file__).parents[2] / "suites").rglob("*.toml"))
REGISTRY = discover_shipped()
VALUES = [
    *("0", "-1", "1", "2", "0.5", "1e400", "inf", "-inf", "nan", "1e-320", "true", "false", "[]", "{}", '""'),
    *("9223372036854775807", "9223372036854775808", "1" * 5000, "0x7fffffff", "2026-11-26", "07:32:00"),
    *("[[[[]]]]", "[" * 5000, "{a = " * 300, '"\\u0000"', "'../../x'", '"\\u001b[31m"', "'/dev/zero'"),
    *('["all"]', '["random", "random"]', '[{ name = "random", draws = 1000000000 }]', "[1, 1]", "[1, 'a']"),
    *(
        '{ name = "mlp", hidden = [-1] }',
        '{ name = "mlp", hidden = [1e9] }',
        "[0.1, 0.1]",
        "'native'",
        "[nan]",
    ),
    *(
        '{ name = "npz", file = "/dev/zero" }',
        "{ name = 3 }",
        '{ name = "x", parameters = { a = { b = 1 } } }',
    ),
    *("{ batch_sizes = [0] }", "{ threads = [99999999999999999999] }", '{ concepts = "shapes", iou = nan }'),
]
KEYS = ["name", "seeds", "scorers", "models", "", '"a.b"', "suite", "__class__", "epochs", "é", "a" * 3000]
NOISE = [
    "\x00",
    "\ufeff",
    "[",
    "]",
    "=",
    '"',
    "#",
    "\n[suite]\n",
    "\n[[workload]]\n",
    "\n[[[x]]]\n",
    "\r",
    "𝟙",
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A shipped suite with some of its values, keys and lines changed."""
    lines = draw(st.sampled_from(SUITES)).read_text("utf-8").splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        key, equals, value = lines[place].partition("=")
        match draw(st.sampled_from(["value", "value", "value", "key", "noise", "twice", "gone", "cut"])):
            case "value":
                lines[place] = f"{key or 'x'} = {draw(st.sampled_from(VALUES))}"
            case "key":
                lines[place] = f"{draw(st.sampled_from(KEYS))}{equals}{value}"
            case "noise":
                at = draw(st.integers(0, len(lines[place])))
                lines[place] = lines[place][:at] + draw(st.sampled_from(NOISE)) + lines[place][at:]
            case "twice":
                lines.insert(draw(st.integers(0, len(lines))), lines[place])
            case "gone":
                del lines[place]
                lines = lines or [""]
            case "cut":
                lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
    return "\n".join(lines)


def examples(many: int) -> settings:
    """So many suites, the same ones each time unless a search is asked for with its number of examples."""
    return settings(
        max_examples=int(os.environ.get("BENCHSUITE_FUZZ", many)),
        deadline=None,
        derandomize="BENCHSUITE_FUZZ" not in os.environ,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@given(text=mutated())
@examples(250)
def test_any_suite_is_a_plan_or_a_usage_error(text: str, tmp_path: Path) -> None:
    check(text, tmp_path / "suite.toml")


@pytest.mark.slow
@given(text=mutated())
@examples(2000)
def test_two_thousand_suites_are_plans_or_usage_errors(text: str, tmp_path: Path) -> None:
    check(text, tmp_path / "suite.toml")


def check(text: str, path: Path) -> None:
    path.write_text(text, "utf-8")
    said = ""
    try:
        suite = load_suite(path, REGISTRY)
        check_size(suite, REGISTRY)
        if most_cells(suite, REGISTRY) < 3000:
            build_plan(suite, REGISTRY, path.parent)
    except UsageError as error:
        said = str(error)
    assert "\x1b" not in said
    assert len(said) < 100_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 5000, "brackets are nested too deeply"),
        ("a = " + "1" * 5000, "not valid TOML"),
        ("a = '" + "x" * (5 << 20) + "'", "is larger than 4 MiB"),
    ],
)
def test_what_no_suite_is_has_its_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        load_suite(path, REGISTRY)


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize("what", ["folder", "/dev/zero", "fifo", "no\0path", "x" * 5000])
def test_what_is_no_file_is_named_and_not_waited_for(
    command: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / what if what in ("folder", "fifo") else Path(what)
    if what == "folder":
        path.mkdir()
    if what == "fifo":
        os.mkfifo(path)
    assert cli.main([command, str(path)]) == 4
    assert capsys.readouterr().err.strip()


def test_a_plan_is_bounded_before_it_is_listed(tmp_path: Path) -> None:
    text = SUITES[0].read_text("utf-8")
    text = re.sub(
        r"^controls = .*$", 'controls = [{ name = "random", draws = 1000000000 }]', text, flags=re.M
    )
    path = tmp_path / "many.toml"
    path.write_text(text)
    for command in ("validate", "plan"):
        done = subprocess.run(
            [sys.executable, "-m", "benchsuite.cli", command, str(path)], capture_output=True, text=True
        )
        assert done.returncode == 4, done.stdout + done.stderr
        assert "more than 1000000" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_an_answer() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "benchsuite.cli", "plugins", "--format", "json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
