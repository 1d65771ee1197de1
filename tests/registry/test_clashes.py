"""Two plugin files and the modules beside them, in one process: each has its own, or both are refused."""

from __future__ import annotations

import sys

import pytest

from benchsuite.errors import PluginError
from benchsuite.registry.clashes import refuse_clashes
from benchsuite.registry.loading import PluginSource, load_plugins


@pytest.fixture
def pair(tmp_path):
    """Makes two plugin files, each in a folder with other files."""

    def make(first, second, beside_first=(), beside_second=()):
        made = []
        for name, text, beside in (("one", first, beside_first), ("two", second, beside_second)):
            folder = tmp_path / name
            folder.mkdir()
            for file in beside:
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_text("VALUE = 1\n")
            made.append(folder / f"plugin_{name}.py")
            made[-1].write_text(text)
        return made

    return make


LATE = "def build():\n    from helpers import VALUE\n"


@pytest.mark.parametrize(
    ("first", "second", "beside_first", "beside_second"),
    [
        ("import helpers", "import helpers", ["helpers.py"], ["helpers.py"]),
        (LATE, "", ["helpers.py"], ["helpers.py"]),
        ("", LATE, ["helpers.py"], ["helpers.py"]),
        (LATE, "", [], ["helpers.py"]),
        ("import helpers.sign", "", ["helpers/__init__.py", "helpers/sign.py"], ["helpers.py"]),
        ("import helpers.sign", "", ["helpers/sign.py"], ["helpers/other.py"]),
        ("import importlib\nimportlib.import_module(NAME)", "", ["helpers.py"], ["helpers.py"]),
        ("import plugin_two", "", [], []),
    ],
)
def test_modules_that_two_files_could_get_are_refused(pair, first, second, beside_first, beside_second):
    files = pair(first, second, beside_first, beside_second)
    for order in (files, files[::-1]):
        with pytest.raises(PluginError, match="cannot run in one process") as raised:
            refuse_clashes(*order)
        assert all(str(file) in str(raised.value) for file in files)


def test_a_module_is_followed_into_what_it_imports(pair):
    first, second = pair("import near", "", ["near.py", "far.py"], ["far.py"])
    (first.parent / "near.py").write_text("def later():\n    import far\n")
    with pytest.raises(PluginError, match="'far'"):
        refuse_clashes(first, second)


@pytest.mark.parametrize(
    ("first", "second", "beside_first", "beside_second"),
    [
        ("import helpers", "import tools", ["helpers.py"], ["tools.py"]),
        ("import tools", "", ["tools.py", "helpers.py"], ["helpers.py"]),
        ("import numpy, json, benchsuite", "", [], ["numpy.py", "json.py", "benchsuite.py"]),
        ("import images", "", [], ["images/cat.txt"]),
    ],
)
def test_others_share_a_process(pair, first, second, beside_first, beside_second):
    refuse_clashes(*pair(first, second, beside_first, beside_second))


def test_files_of_one_folder_share_its_modules(tmp_path):
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("import helpers")
    (tmp_path / "helpers.py").write_text("")
    refuse_clashes(tmp_path / "one.py", tmp_path / "two.py")


def test_the_second_of_two_in_one_process_is_listed_with_the_reason(pair, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    files = pair(
        "import helpers_of_one", "import helpers_of_one", ["helpers_of_one.py"], ["helpers_of_one.py"]
    )
    infos = load_plugins(map(PluginSource.of_file, files)).registry.infos
    # Neither registers anything, which is the first one's only error.
    (info,) = (info for info in infos if info.origin == str(files[1]))
    assert info.error.startswith("plugin files ")
