"""What plugins load while they work is what their content keys cover."""

from __future__ import annotations

import sys

import pytest

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.errors import PluginError
from benchsuite.registry.loading import PluginSource, load_plugins

PLUGINS = """
import benchsuite

class Net(benchsuite.ModelPlugin):
    name = "covered-net"
    def build(self, input_shape, classes):
        {late}

class Data(benchsuite.DatasetPlugin):
    name = "covered-data"
    def load(self, folder):
        {late}

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Net)

@benchsuite.hookimpl
def benchsuite_register_datasets(register):
    register(Data)
"""


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Loads the plugins, which import a module beside them when they are called."""
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.modules", {**sys.modules})

    def load(late, helper):
        (tmp_path / f"{helper}.py").write_text("")
        path = tmp_path / f"plugins_with_{helper}.py"
        path.write_text(PLUGINS.format(late=late))
        return load_plugins([PluginSource.of_file(path)]).registry

    return load


def call(plugin):
    return plugin.build((1,), 2) if hasattr(plugin, "build") else plugin.load(None)


@pytest.mark.parametrize(("kind", "name"), [("model", "covered-net"), ("dataset", "covered-data")])
def test_a_module_that_no_import_names_is_an_error(registry, kind, name):
    loaded = registry("__import__.__call__('hidden_helper')", "hidden_helper")
    plugin = loaded.create(kind, name, {})
    with (
        pytest.raises(PluginError, match=f"{kind} {name} loaded .*hidden_helper.py, which no import"),
        covered_imports(kind, plugin),
    ):
        call(plugin)


@pytest.mark.parametrize(("kind", "name"), [("model", "covered-net"), ("dataset", "covered-data")])
def test_a_late_import_that_its_source_names_is_none(registry, kind, name):
    plugin = registry("import named_helper", "named_helper").create(kind, name, {})
    with covered_imports(kind, plugin):
        call(plugin)
    assert "named_helper" in sys.modules
