"""The files that `new-plugin` writes; braces in them are doubled."""

from __future__ import annotations

SCORER_FILE = '''"""The scorer {name}: <one line on what it measures>."""

from __future__ import annotations

from typing import TYPE_CHECKING

import benchsuite

if TYPE_CHECKING:
    from torch import Tensor


class {class_name}(benchsuite.Scorer):
    """<What the score is, as a formula>. <Author, year, equation>."""

    name = "{name}"
    granularity = "unit"
    data_free = True
    power: float = 1.0
    """A parameter: typed, with a default, settable in a suite file."""

    def score(self, context: benchsuite.ScoringContext) -> dict[str, Tensor]:
        """Return one float tensor of shape (units,) per layer: higher is more important."""
        return {{
            layer.name: layer.weight.abs().pow(self.power).flatten(1).sum(1) for layer in context.layers
        }}


@benchsuite.hookimpl
def benchsuite_register_scorers(register) -> None:  # type: ignore[no-untyped-def]  # pluggy calls it
    register({class_name})
'''

PACKAGE_FILES = {
    "pyproject.toml": """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "benchsuite-{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["benchsuite"]

[project.entry-points.benchsuite]
{module} = "benchsuite_{module}"

[tool.hatch.build.targets.wheel]
packages = ["benchsuite_{module}.py"]
""",
    "benchsuite_{module}.py": SCORER_FILE,
    "README.md": """# benchsuite-{name}

A scorer plugin for benchsuite. Install it beside benchsuite and name `{name}` in a suite file:

    pip install .
    benchsuite plugins
""",
}
