"""Digests of code: they cover all code that can affect a number, but not code that only draws or prints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import benchsuite
from benchsuite.contracts import digests
from benchsuite.contracts.digests import code_digest, code_libraries, covered_modules
from benchsuite.contracts.libraries import library_versions
from benchsuite.plan import stage_keys

if TYPE_CHECKING:
    from collections.abc import Callable

STAGES = {
    "data": stage_keys.DATA,
    "train": stage_keys.TRAIN,
    "trace": stage_keys.TRACE,
    "score": stage_keys.SCORE,
    "trial": stage_keys.TRIAL,
    "latency": stage_keys.LATENCY,
    "dissection": "benchsuite.trials.dissection",
    "tables": "benchsuite.scoring.shared",
    "agreement": "benchsuite.trials.agreement",
    "ranking": "benchsuite.trials.ranking",
    "description": "benchsuite.trials.dense_description",
    "concepts": "benchsuite.metrics.dissection.packing",
}
TALKING = (
    "drawing",
    "commands",
    "tracking",
    "publishing",
    "execution",
    "suite",
    "registry",
    "testing",
)
"""Packages that draw, print, find plugins, read suites or start workers."""
PACKAGE = Path(benchsuite.__file__).parent


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the host's source."""
    root = tmp_path_factory.mktemp("host")
    shutil.copytree(PACKAGE, root / "benchsuite", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def digest(root: Path, module: str) -> str:
    """The digest as a new process computes it."""
    return code_digest.__wrapped__(module, root=root)


def edited(root: Path, file: Path, module: str) -> str:
    """The digest after an edit of one file."""
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"\n# edited\n")
        return digest(root, module)
    finally:
        file.write_bytes(content)


def file_of(root: Path, module: str) -> Path:
    place = root.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_when_it_runs_is_covered(stage: str) -> None:
    code = (
        f"import sys, json, {STAGES[stage]}\n"
        "print(json.dumps([m for m in sys.modules if m.partition('.')[0] == 'benchsuite']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {m for m in json.loads(done.stdout) if not m.startswith("benchsuite.drawing")}
    # The package itself loads its version, which is not code.
    assert loaded - covered_modules(STAGES[stage]) <= {"benchsuite._version"}


@pytest.mark.parametrize("stage", STAGES)
def test_an_edit_of_any_module_of_a_stage_changes_its_digest(copy: Path, stage: str) -> None:
    module = STAGES[stage]
    before = digest(copy, module)
    assert before == digest(PACKAGE.parent, module)
    unchanged = [
        name for name in covered_modules(module) if edited(copy, file_of(copy, name), module) == before
    ]
    assert unchanged == []


@pytest.mark.parametrize("stage", STAGES)
def test_an_edit_of_what_only_draws_or_talks_changes_no_digest(copy: Path, stage: str) -> None:
    module = STAGES[stage]
    before = digest(copy, module)
    files = [file for room in TALKING for file in (copy / "benchsuite" / room).rglob("*.py")]
    assert len(files) > 40
    changed = [file for file in files if edited(copy, file, module) != before]
    assert changed == []


def test_the_training_of_dense_models_does_not_depend_on_scoring_and_pruning(copy: Path) -> None:
    covered = covered_modules(stage_keys.TRAIN)
    assert not [m for m in covered if m.split(".")[1:2] in (["scoring"], ["pruning"])]
    assert "benchsuite.contracts.layers" in covered_modules(stage_keys.SCORE)
    assert "benchsuite.plan.trial" in covered_modules(stage_keys.TRIAL)


def test_the_names_of_the_public_api_are_covered(copy: Path) -> None:
    before = digest(copy, stage_keys.SCORE)
    assert edited(copy, copy / "benchsuite" / "__init__.pyi", stage_keys.SCORE) != before


def test_the_libraries_that_compute_are_named_without_local_labels() -> None:
    import torch

    found = code_libraries(stage_keys.TRIAL)
    assert {"torch", "numpy", "scipy"} <= found.keys()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert "+" not in "".join(found.values())
    assert not {"pydantic", "safetensors", "json", "benchsuite"} & found.keys()


def test_a_library_is_found_by_the_name_that_is_imported() -> None:
    from importlib.metadata import version

    found = library_versions({"sklearn", "PIL", "yaml", "os", "no_such_library"})
    assert found["sklearn"] == version("scikit-learn")
    assert found["PIL"] == version("pillow")
    assert "os" not in found
    assert "no_such_library" not in found


# Plugins

SCORER = """
import importlib
import benchsuite
{imports}

class Mine(benchsuite.Scorer):
    name = "mine"

    def score(self, context):
        {lazy}
        return {{}}


@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Mine)
"""

DIGEST = """
import sys
from pathlib import Path
from benchsuite.contracts.digests import source_digest, source_libraries
from benchsuite.registry.discovery import discover
sys.path[:0] = sys.argv[2:]
registry, _ = discover([Path(sys.argv[1])])
assert "mine" in registry.names("scorer"), [i.error for i in registry.infos if i.error]
cls = registry.get("scorer", "mine")
print(source_digest(cls), sorted(source_libraries(cls)))
"""


def digest_of(plugin: Path) -> str:
    """The digest of the scorer in a plugin file, in a process of its own."""
    command = [sys.executable, "-c", DIGEST, str(plugin), str(plugin.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def changes(plugin: Path, file: Path) -> bool:
    """Whether the flipped sign in a file next to the plugin changes the digest."""
    before = digest_of(plugin)
    file.write_text(file.read_text().replace("SIGN = 1", "SIGN = -1"))
    return digest_of(plugin) != before


def lay_out(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


HELPERS = {
    "my_helper.py": "from deeper import SIGN\n",
    "deeper.py": "SIGN = 1\n",
    "pkg/__init__.py": "",
    "pkg/b.py": "from .c import SIGN as FOUND\nSIGN = 1\n",
    "pkg/c.py": "SIGN = 1\n",
    "other.py": "SIGN = 1\n",
    "star.py": "__all__ = ['os']\nimport os\n",
    "bare/inner.py": "SIGN = 1\n",
}


@pytest.mark.parametrize(
    ("imports", "lazy", "changed"),
    [
        ("import my_helper", "pass", "deeper.py"),
        ("from my_helper import SIGN", "pass", "deeper.py"),
        ("", "import my_helper", "deeper.py"),
        ("", "from pkg import b", "pkg/c.py"),
        ("import pkg.b", "pass", "pkg/b.py"),
        ("import pkg.b", "pass", "pkg/__init__.py"),
        ('importlib.import_module("pkg.b")', "pass", "pkg/c.py"),
        ("", 'importlib.import_module("pkg.b")', "pkg/c.py"),
        ("", 'importlib.import_module(".b", "pkg")', "pkg/c.py"),
        ("", '__import__("my_helper")', "deeper.py"),
        ("", 'importlib.import_module("..b", package="pkg.c")', "pkg/b.py"),
        # The name is computed, so everything next to the plugin counts.
        ("", 'importlib.import_module("my_" + "helper")', "deeper.py"),
        ("", 'exec(open("other.py").read())', "other.py"),
        ("import runpy", 'runpy.run_path("other.py")', "other.py"),
        ("from importlib import import_module as load", 'load("my_" + "helper")', "deeper.py"),
        ("import importlib.util as loaders", 'loaders.find_spec("other")', "other.py"),
        # `__all__` may name modules.
        ("from star import *", "pass", "other.py"),
        # A package without `__init__.py`.
        ("import bare.inner", "pass", "bare/inner.py"),
    ],
)
def test_modules_beside_a_plugin_file_are_covered(
    tmp_path: Path, imports: str, lazy: str, changed: str
) -> None:
    lay_out(tmp_path, {**HELPERS, "plugin.py": SCORER.format(imports=imports, lazy=lazy)})
    if changed == "pkg/__init__.py":
        (tmp_path / changed).write_text("SIGN = 1\n")
    assert changes(tmp_path / "plugin.py", tmp_path / changed)


def test_a_module_from_elsewhere_that_no_distribution_holds_is_covered(tmp_path: Path) -> None:
    """Nothing else says which version of it is there."""
    lines = f"import sys; sys.path.append({str(tmp_path / 'elsewhere')!r}); import my_helper"
    lay_out(tmp_path / "elsewhere", HELPERS)
    lay_out(tmp_path, {"plugin.py": SCORER.format(imports=lines, lazy="pass")})
    assert changes(tmp_path / "plugin.py", tmp_path / "elsewhere/deeper.py")


def test_of_a_link_to_a_plugin_file_the_modules_beside_the_file_are_covered(tmp_path: Path) -> None:
    lay_out(
        tmp_path / "real", {**HELPERS, "plugin.py": SCORER.format(imports="import my_helper", lazy="pass")}
    )
    (tmp_path / "link.py").symlink_to(tmp_path / "real/plugin.py")
    assert changes(tmp_path / "link.py", tmp_path / "real/deeper.py")


def test_a_module_that_changes_the_class_that_it_registers_is_covered(tmp_path: Path) -> None:
    lay_out(tmp_path, {"impl.py": SCORER.format(imports="", lazy="pass").partition("@")[0]})
    registers = "@benchsuite.hookimpl\ndef benchsuite_register_scorers(register):\n    register(Mine)\n"
    plain = f"import benchsuite\nfrom impl import Mine\nSIGN = 1\nMine.sign = SIGN\n\n\n{registers}"
    lay_out(tmp_path, {"plugin.py": plain})
    assert changes(tmp_path / "plugin.py", tmp_path / "plugin.py")


def test_two_modules_that_change_places_change_the_digest(tmp_path: Path) -> None:
    plugin = SCORER.format(imports="import first, second", lazy="pass")
    lay_out(tmp_path, {"plugin.py": plugin, "first.py": "SIGN = 1\n", "second.py": "SIGN = 2\n"})
    before = digest_of(tmp_path / "plugin.py")
    lay_out(tmp_path, {"first.py": "SIGN = 2\n", "second.py": "SIGN = 1\n"})
    assert digest_of(tmp_path / "plugin.py") != before


def test_what_a_plugin_file_does_not_import_is_not_covered(tmp_path: Path) -> None:
    lay_out(tmp_path, {**HELPERS, "plugin.py": SCORER.format(imports="import my_helper", lazy="pass")})
    assert not changes(tmp_path / "plugin.py", tmp_path / "other.py")


def test_a_plugin_file_keeps_its_digest_wherever_it_lies(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "two"):
        text = SCORER.format(imports="import my_helper", lazy="pass")
        lay_out(tmp_path / name, {**HELPERS, f"plugin_{name}.py": text})
        found.add(digest_of(tmp_path / name / f"plugin_{name}.py"))
    assert len(found) == 1


def test_rooms_of_the_host_that_a_plugin_imports_are_covered() -> None:
    """Otherwise a criterion that uses the host's surgery would keep its scores when the surgery changes."""
    importer = "benchsuite_scorers.karnin"
    find: Callable[[str], Path | None] = digests._of_plugin(importer)
    found = digests._closure(["benchsuite.pruning.surgery"], find)
    assert "benchsuite.pruning.cuts" in found
    assert find("benchsuite") is None


def test_the_libraries_that_a_plugin_imports_are_named(tmp_path: Path) -> None:
    lay_out(tmp_path, {"plugin.py": SCORER.format(imports="", lazy="import xgboost, sklearn.tree, my_own")})
    assert digest_of(tmp_path / "plugin.py").endswith("['sklearn', 'xgboost']\n")


def test_each_shipped_criterion_has_a_digest_of_its_own() -> None:
    from benchsuite.contracts.digests import source_digest
    from benchsuite.registry.discovery import discover_shipped

    registry = discover_shipped()
    names = registry.names("scorer")
    assert len({source_digest(registry.get("scorer", name)) for name in names}) == len(names)
    for name in names:
        modules = digests._defining(registry.get("scorer", name))
        files = {source.file.name for source in digests._plugin_sources(modules).values()}
        assert "registration.py" not in files, "another criterion would change this one's key"
