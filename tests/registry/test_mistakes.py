"""Plugins with a small mistake: what was found, and what would be right, is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchsuite import cli
from benchsuite.registry.discovery import discover

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.registry.registry import PluginInfo

HOOK = """
@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Mine)
"""
GOOD = f"""
import benchsuite

class Mine(benchsuite.Scorer):
    name = "mine"
    granularity = "unit"
    value: float = 1.0

    def score(self, context):
        return {{layer.name: layer.weight.abs().flatten(1).sum(1) for layer in context.layers}}
{HOOK}"""
LINES = """
    @benchsuite.hookimpl
    def benchsuite_register_scorers(register):
        register(Mine)"""
MODEL = """
class Net(benchsuite.ModelPlugin):
    name = "net"
    def build(self, input_shape, classes):
        return None
"""


def registered(folder: Path, text: str) -> list[PluginInfo]:
    file = folder / "written.py"
    file.write_text(text)
    return [info for info in discover([file])[0].infos if info.origin == str(file)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace(HOOK, ""), ["no plugin is registered", LINES]),
        (GOOD.replace("register(Mine)", "pass"), ["no plugin is registered", LINES]),
        (
            GOOD.replace("@benchsuite.hookimpl", ""),
            ["benchsuite_register_scorers is no hook without the line @benchsuite.hookimpl before it", LINES],
        ),
        (
            GOOD.replace("scorers(", "scorer("),
            ["there is no hook benchsuite_register_scorer; did you mean benchsuite_register_scorers?", LINES],
        ),
        (
            GOOD.replace("@benchsuite.hookimpl\n", "").replace("register_scorers", "register_scorer"),
            ["benchsuite_register_scorer is no hook; did you mean benchsuite_register_scorers", LINES],
        ),
        (
            GOOD.replace("register(Mine)", "pass") + "class _Base(benchsuite.Scorer): pass\n",
            ["What registers Mine:"],
        ),
        (
            GOOD.replace(HOOK, "").replace("(benchsuite.Scorer)", ""),
            ["Mine has score() but is no benchsuite.Scorer"],
        ),
        ("import benchsuite\n" + MODEL, ["def benchsuite_register_models(register):\n        register(Net)"]),
        ("value = 1", ["no class is derived from one of benchsuite's: Scorer, ModelPlugin"]),
        (
            GOOD.replace("(register)", "(registry)"),
            ["benchsuite_register_scorers has the argument 'registry'; the hook gives: register"],
        ),
        (GOOD.replace("register(Mine)", "register(Mine())"), ["pass the class, register(Mine)"]),
        (GOOD.replace("(benchsuite.Scorer)", ""), ["Mine is not a subclass of benchsuite.Scorer"]),
        (GOOD.replace("def score", "def scores"), ["Mine does not define score(); it defines scores()"]),
        (GOOD.replace("register(Mine)", "register(Mien)"), ["name 'Mien' is not defined (written.py:14)"]),
        (GOOD + "x = (", ["SyntaxError: '(' was never closed (written.py, line 15)"]),
    ],
)
def test_a_mistake_is_one_error_that_says_what_would_be_right(text, said, tmp_path):
    (info,) = registered(tmp_path, text)
    assert info.status == "error"
    for words in said:
        assert words in info.error
    for internal in ("benchsuite_plugin_", "importlib", "loading.py", "PluginError", "pluggy"):
        assert internal not in info.error


def test_the_lines_that_are_told_register_it(tmp_path):
    (info,) = registered(tmp_path, GOOD.replace(HOOK, ""))
    told = info.error.partition(":\n")[2]
    lines = "\n".join(line.removeprefix("    ") for line in told.splitlines())
    (mended,) = registered(tmp_path, f"{GOOD.replace(HOOK, '')}\n{lines}\n")
    assert (mended.name, mended.status) == ("mine", "ok")


def test_a_hook_that_is_missed_does_not_take_the_others_along(tmp_path):
    model = "@benchsuite.hookimpl\ndef benchsuite_register_models(register):\n    register(Net)\n"
    found = registered(tmp_path, GOOD.replace("@benchsuite.hookimpl", "") + MODEL + model)
    assert [(info.name, info.status) for info in found] == [("net", "ok"), ("written", "error")]


@pytest.mark.parametrize(
    "text",
    [
        # A hook of a later benchsuite, marked as one that need not be there.
        GOOD + "@benchsuite.hookimpl(optionalhook=True)\ndef benchsuite_register_metrics(register): pass\n",
        GOOD.replace("hookimpl", 'hookimpl(specname="benchsuite_register_scorers")').replace(
            "def benchsuite_register_scorers", "def mine"
        ),
        GOOD + "def benchsuite_helper(): pass\n",
        "import benchsuite\n@benchsuite.hookimpl\ndef benchsuite_trial_finished(record): pass\n",
    ],
)
def test_what_is_no_mistake_is_not_one(text, tmp_path):
    assert [info.error for info in registered(tmp_path, text) if info.error] == []


@pytest.mark.parametrize("command", ["validate", "plan", "run", "plugins", "check-plugin"])
def test_every_command_that_is_given_the_file_says_it(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GOOD.replace(HOOK, ""))
    (tmp_path / "small.toml").write_text(
        '[suite]\nname = "small"\nseeds = [0]\nsparsities = [0.5]\nscorers = "magnitude-l1"\n'
        '[[workload]]\ndataset = "digits"\nmodels = ["mlp"]\n'
    )
    words = {"plugins": ["--plugin", "mine.py"], "check-plugin": ["mine.py"]}
    code = cli.main([command, *words.get(command, ["small.toml", "--plugin", "mine.py"])])
    assert code == {"plugins": 0, "check-plugin": 1}.get(command, 4)
    out, err = capsys.readouterr()
    assert "register(Mine)" in out + err


def test_an_installed_distribution_without_hooks_is_listed_as_broken(tmp_path, monkeypatch):
    (tmp_path / "hookless.py").write_text(GOOD.replace(HOOK, ""))
    folder = tmp_path / "benchsuite_hookless-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: benchsuite-hookless\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[benchsuite]\nhookless = hookless\n")
    monkeypatch.syspath_prepend(tmp_path)
    (info,) = [i for i in discover()[0].infos if i.origin == "benchsuite-hookless (hookless)"]
    assert info.status == "error"
    assert LINES in info.error
    # Where a library is not installed, a package may have nothing to register.
    (tmp_path / "hookless.py").write_text(GOOD.replace("register(Mine)", "pass"))
    monkeypatch.delitem(__import__("sys").modules, "hookless")
    assert not [i for i in discover()[0].infos if i.origin == "benchsuite-hookless (hookless)"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ('scal = "network"', "scale"),
        ("coupld = True", "coupled"),
        ("data_fre = True", "data_free"),
        ('granularty = "weight"', "granularity"),
        ("draw: int = 3", "draws"),
        ("def reduction(self): return ()", "reductions"),
    ],
)
def test_a_misspelt_attribute_is_a_warning(name, meant, tmp_path, monkeypatch, capsys):
    text = GOOD.replace("    value:", f"    {name}\n    value:")
    text = text.replace('    granularity = "unit"\n', "")
    (info,) = registered(tmp_path, text)
    assert info.status == "ok"
    assert f"(did you mean {meant}?)" in info.warning


@pytest.mark.parametrize(
    "name", ["bins: int = 3", "_scal = 1", 'scale, scales = "layer", 1', "def helper(self): pass"]
)
def test_names_of_ones_own_are_no_warning(name, tmp_path):
    (info,) = registered(tmp_path, GOOD.replace("    value:", f"    {name}\n    value:"))
    assert (info.status, info.warning) == ("ok", "")


def test_no_shipped_plugin_has_a_warning():
    assert [info.warning for info in discover()[0].infos if info.warning] == []


@pytest.mark.parametrize("command", ["validate", "plugins", "check-plugin"])
def test_a_warning_is_told(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GOOD.replace("    value:", "    scal = 1\n    value:"))
    (tmp_path / "small.toml").write_text(
        '[suite]\nname = "small"\nseeds = [0]\nsparsities = [0.5]\nscorers = "mine"\n'
        '[[workload]]\ndataset = "digits"\nmodels = ["mlp"]\n'
    )
    words = {"plugins": ["--plugin", "mine.py"], "check-plugin": ["mine.py"]}
    assert cli.main([command, *words.get(command, ["small.toml", "--plugin", "mine.py"])]) == 0
    assert "scal (did you mean scale?)" in capsys.readouterr().out
