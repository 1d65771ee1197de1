"""Discovery: a broken plugin affects no other, duplicates name both origins, keys depend on the source."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchsuite.contracts.digests import source_digest
from benchsuite.errors import Unsupported, UsageError
from benchsuite.registry.discovery import discover

GOOD = """
import benchsuite

class Constant(benchsuite.Scorer):
    \"\"\"Every unit alike.\"\"\"
    name = "constant"
    value: float = 1.0

    def score(self, context):
        return {layer.name: layer.weight.new_full((layer.units,), self.value) for layer in context.layers}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Constant)
"""


def plugin(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_plugin_file_can_import_the_modules_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    plugin(tmp_path, "VALUE = 2.5", "beside_a_plugin.py")
    # One of a library's name hides no library.
    plugin(tmp_path, "raise RuntimeError", "torch.py")
    text = GOOD.replace("= 1.0", "= VALUE").replace(
        "import benchsuite", "from beside_a_plugin import VALUE\nimport benchsuite", 1
    )
    registry, _ = discover([plugin(tmp_path, text)])
    assert registry.create("scorer", "constant", {}).parameters == {"value": 2.5}


def test_a_plugin_file_is_listed_beside_the_installed_ones(tmp_path):
    path = plugin(tmp_path, GOOD)
    registry, _ = discover([path])
    info = next(i for i in registry.infos if i.name == "constant")
    assert (info.kind, info.status, info.origin) == ("scorer", "ok", str(path))
    assert info.parameters == {"value": 1.0}
    assert "magnitude-l1" in registry.names("scorer")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        (GOOD.replace("register(Constant)", "raise ValueError('late')"), "ValueError: late"),
        (GOOD.replace("(register)", "(registre)"), "has the argument 'registre'"),
        (GOOD.replace("register(Constant)", "register(3)"), "not a subclass"),
        (GOOD.replace("register(Constant)", "register(object)"), "not a subclass"),
        (GOOD.replace('name = "constant"', 'name = "No Good"'), "lower-case words"),
        (GOOD.replace("def score", "def scores"), "does not define score()"),
        (GOOD.replace("value: float = 1.0", "value: float"), "has no default"),
        (GOOD.replace("value: float = 1.0", "value: float = 'x'"), "malformed"),
        (
            GOOD.replace('name = "constant"', 'name = "constant"\n    granularity = "filter"'),
            "unit, weight or both",
        ),
        (
            GOOD.replace('name = "constant"', 'name = "constant"\n    imports = "sklearn.tree"'),
            "a tuple of modules' names",
        ),
        (GOOD.replace('name = "constant"', 'name = "constant"\n    scale = "net"'), "layer or network"),
        *(
            (GOOD.replace('name = "constant"', f'name = "constant"\n    {flag} = "yes"'), "True or False")
            for flag in ("coupled", "sums_to_units", "needs_target", "absolute", "data_free")
        ),
    ],
)
def test_a_broken_plugin_is_listed_with_its_error_and_harms_nobody(tmp_path, text, error):
    registry, _ = discover(
        [plugin(tmp_path, text), plugin(tmp_path, GOOD.replace("constant", "fine"), "fine.py")]
    )
    broken = [i for i in registry.infos if i.status == "error"]
    assert len(broken) == 1
    assert error in (broken[0].error or "")
    assert {"fine", "magnitude-l1"} <= set(registry.names("scorer"))


def test_a_class_that_fails_does_not_take_its_siblings_along(tmp_path):
    text = GOOD.replace("register(Constant)", "register(3); register(Constant)")
    registry, _ = discover([plugin(tmp_path, text)])
    assert "constant" in registry.names("scorer")
    assert sum(i.status == "error" for i in registry.infos) == 1


def test_a_duplicate_is_an_error_that_names_both_origins(tmp_path):
    path = plugin(tmp_path, GOOD.replace('"constant"', '"magnitude-l1"'))
    registry, _ = discover([path])
    with pytest.raises(UsageError) as caught:
        registry.get("scorer", "magnitude-l1")
    assert str(path) in str(caught.value)
    assert "benchsuite_scorers" in str(caught.value)


def test_asking_for_a_broken_plugin_says_what_broke(tmp_path):
    registry, _ = discover([plugin(tmp_path, GOOD.replace("def score", "def scores"))])
    with pytest.raises(UsageError, match=r"constant.*broken.*does not define score"):
        registry.get("scorer", "constant")


def test_the_source_digest_follows_the_source_and_not_the_place(tmp_path):
    (tmp_path / "other").mkdir()
    here, there = plugin(tmp_path, GOOD), plugin(tmp_path / "other", GOOD)
    changed = plugin(tmp_path, GOOD.replace("new_full", "new_full  "), "changed.py")
    digests = [source_digest(discover([p])[0].get("scorer", "constant")) for p in (here, there, changed)]
    assert digests[0] == digests[1] != digests[2]


def test_the_source_digest_covers_imported_modules_of_the_same_package(tmp_path, monkeypatch):
    package = tmp_path / "digest_sample"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("FACTOR = 1\n")
    body = GOOD.replace("import benchsuite\n", "import benchsuite\nfrom digest_sample.helper import FACTOR\n")
    (package / "plugin.py").write_text(body)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from digest_sample.plugin import Constant\nfrom benchsuite.contracts.digests import source_digest\n"
        "print(source_digest(Constant))"
    )

    def digest() -> str:
        command = [sys.executable, "-c", script, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    before = digest()
    (package / "helper.py").write_text("FACTOR = 22\n")
    assert digest() != before


def test_discovery_and_the_public_api_do_not_import_torch():
    script = (
        "import sys, benchsuite\nfrom benchsuite.registry.discovery import discover\n"
        "from benchsuite import Scorer, ModelPlugin\n"
        "registry, _ = discover()\nassert registry.names('scorer')\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


MODEL = """
import benchsuite
from torch import nn

class Mine(benchsuite.ModelPlugin):
    name = "mine"
    {method}

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Mine)
"""


@pytest.mark.parametrize(
    ("method", "works"),
    [
        ("def build(self, input_shape, classes): return nn.Linear(2, classes)", True),
        ("def build_named(self, inputs, classes): return nn.Linear(2, classes)", True),
        ("def make(self, inputs, classes): return nn.Linear(2, classes)", False),
    ],
)
def test_a_model_builds_for_one_tensor_or_for_inputs_by_name(tmp_path, method, works):
    registry, _ = discover([plugin(tmp_path, MODEL.format(method=method))])
    assert ("mine" in registry.names("model")) is works
    if works and "named" in method:
        with pytest.raises(Unsupported, match=r"takes inputs by name.*one tensor of shape \(3, 8, 8\)"):
            registry.create("model", "mine", {}).build((3, 8, 8), 5)
