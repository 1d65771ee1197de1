"""The line of a plugin in which an error arose, without the folders of the machine."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from benchsuite.registry import raised_at
from benchsuite.registry.raised_at import plugin_line

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
import benchsuite
from beside_raising import helper

class Raising(benchsuite.Scorer):
    name = "raising"
    def score(self, context):
        match context:
            case "here":
                raise ValueError("no")  # here
            case "beside":
                helper()
            case "library":
                import json
                json.loads("{")  # library
            case "host":
                benchsuite.file_fingerprint(3)  # host
            case "gradient":
                weight = __import__("torch").ones(2)
                abs(weight.grad)  # gradient
            case "cause":
                try:
                    [][0]
                except IndexError as error:
                    raise ValueError("no") from error  # cause

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Raising)
"""
SCRIPT = """
import sys
from pathlib import Path
from benchsuite.errors import PluginError
from benchsuite.registry.discovery import discover
from benchsuite.registry.raised_at import plugin_line

scorer = discover([Path(sys.argv[1])])[0].create("scorer", "raising", {})
for what in ("here", "beside", "library", "host", "cause", "gradient"):
    try:
        try:
            scorer.score(what)
        except Exception as error:
            raise PluginError("wrapped by the host") from error
    except PluginError as error:
        print(what + plugin_line(error))
try:
    len(3)
except TypeError as error:
    print("none" + plugin_line(error))
"""


@pytest.mark.parametrize("where", ["site", "site/benchsuite-sources"])
def test_the_innermost_line_of_the_plugins_own_code_is_named(tmp_path: Path, where: str) -> None:
    folder = tmp_path / where
    folder.mkdir(parents=True)
    (folder / "raising.py").write_text(PLUGIN)
    (folder / "beside_raising.py").write_text("def helper():\n    raise KeyError('no')\n")
    marked = {text.split("# ")[1]: n for n, text in enumerate(PLUGIN.splitlines(), start=1) if "# " in text}
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder / "raising.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    own = [f"{what} (raising.py:{marked[what]})" for what in ("here", "library", "host", "cause")]
    hint = f"gradient (raising.py:{marked['gradient']}; nothing has a .grad here, "
    hint += "context.gradients() gives gradients)"
    assert told == [own[0], "beside (beside_raising.py:2)", *own[1:], hint, "none"]


def test_where_no_file_can_be_read_the_error_is_told_without_its_line(monkeypatch):
    def none_left(**_options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("importlib.metadata.entry_points", none_left)
    raised_at._installed.cache_clear()
    with pytest.raises(ValueError, match="of the host") as caught:
        raise ValueError("of the host")
    assert plugin_line(caught.value) == ""
