"""What commands print: no text from outside reaches a terminal as it would obey it."""

from __future__ import annotations

import ast
import io
import logging
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import benchsuite
from benchsuite import cli
from benchsuite.commands.printing import Output, put, say, steady_output, tell
from benchsuite.drawing.terminal import Printable, open_console
from benchsuite.execution.progress import LiveView, PlainView
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(benchsuite.__file__).parent
HOSTILE = "\x1b[31m\x1b]0;title\x07\u202e\x9b2J\x7f\r\ud800"
TEXTS = st.text(st.characters(codec=None), max_size=30)
AXES = {
    "dataset": HOSTILE,
    "model": HOSTILE,
    "scorer": f"magnitude({HOSTILE}=1)",
    "seed": 0,
    "sparsity": HOSTILE,
    "draw": 0,
}


def is_clean(text: str) -> bool:
    kinds = {unicodedata.category(character) for character in text if character not in "\n\t"}
    return kinds.isdisjoint({"Cc", "Cf", "Cs"})


def printed(show: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> str:
    out, err = io.StringIO(), io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        show()
    return out.getvalue() + err.getvalue()


def _table(text: str) -> Table:
    table = Table(box=None)
    table.add_column(Text(text))
    table.add_row(Text(text), Text(text, style="red"))
    return table


def test_every_way_of_printing_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    @given(TEXTS)
    @example(HOSTILE)
    def check(text: str) -> None:
        record = TrialRecord("k", dict(AXES, scorer=text), "failed", error=text)
        ways: list[Callable[[], object]] = [
            lambda: put(text),
            lambda: tell(text),
            lambda: say(open_console(), text),
            lambda: say(open_console(), text, style="red"),
            lambda: open_console(width_in_pipe=80).print(_table(text)),
            lambda: open_console().print(text, markup=False),
            lambda: PlainView(1, open_console()).recorded(None, record, complete=True),  # type: ignore[arg-type]
            lambda: PlainView(1, open_console()).say(text),
        ]
        for show in ways:
            assert is_clean(printed(show, monkeypatch)), text

    check()


def test_a_live_view_is_printable() -> None:
    console = open_console()
    view = LiveView(1, ["cpu"], console)
    view.working(0, HOSTILE)
    record = TrialRecord("k", AXES, "failed", error=HOSTILE)
    with console.capture() as captured:
        view.recorded(None, record, complete=True)  # type: ignore[arg-type]  # it is not looked at
        view.say(HOSTILE)
        console.print(view._render())
    assert is_clean(captured.get())
    assert "[31m" in captured.get()


def test_what_rich_sends_itself_stays() -> None:
    console = open_console()
    console._force_terminal = True
    console._color_system = 3  # type: ignore[assignment]  # true colours
    with console.capture() as captured:
        console.print(Printable(Text("red", style="red")))
    assert "red" in captured.get()


def test_warnings_are_printable(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["schema"]) == 0
    capsys.readouterr()
    logger = logging.getLogger("benchsuite.hostile")
    assert logging.lastResort is not None
    line = logging.lastResort.format(logger.makeRecord("n", 30, "f", 1, "%s", (HOSTILE,), None))
    assert is_clean(line)
    assert "[31m" in line


@pytest.mark.parametrize("command", ["plan", "validate", "run"])
def test_the_values_of_a_suite_are_printable(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.toml").write_text(
        """
        [suite]
        name = "hostile"
        seeds = [0]
        sparsities = [0.5]
        scorers = ["magnitude-l1"]
        [[workload]]
        dataset = { name = "npz", file = "\\u001b[31mred\\u009b2J.npz" }
        models = ["mlp"]
        """
    )
    words = [command, "suite.toml", *(["--filter", "scorer=\x1b[31mno"] if command == "run" else [])]
    code = cli.main(words)
    said = "".join(capsys.readouterr())
    assert code == (5 if command == "run" else 0), said
    assert is_clean(said)
    if command != "run":
        assert "[31mred" in said


@pytest.mark.parametrize(
    "words",
    [["\x1b[31m"], ["results", "\x1b[31m"], ["run", "\x1b[31m", "\x1b[32m"], ["plugins", "--\x1b[31m"]],
)
def test_the_words_of_a_command_line_are_printable(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 4
    assert is_clean("".join(capsys.readouterr()))


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_stream_that_fails_is_left_alone_and_remembered() -> None:
    output = Output(_Broken())
    for _ in range(3):
        assert output.write("text") == 4
        output.flush()
    assert output.failure is not None
    assert output.failure.errno == 28


def test_standard_output_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with steady_output():
        put("text")
    assert sys.stdout is stream
    assert stream.getvalue() == "text\n"


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_nothing_else_prints() -> None:
    """One door for each way to a terminal; a module that calls `print` or makes a console goes round it."""
    printing = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if "print" in calls(path)}
    consoles = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if "Console" in calls(path)}
    assert printing == {"commands/printing.py"}
    assert consoles == {"drawing/terminal.py"}
