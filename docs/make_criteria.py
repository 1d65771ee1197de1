"""Write the pages of the criteria: one for each, from its docstring, and a table with what was measured.

`python docs/make_criteria.py` writes `docs/criteria/<name>.md`. With `--measure` it also measures every
criterion (`measure_criteria.py`) and writes `docs/criteria/index.md`.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import inspect
import json
import platform
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from measure_criteria import LIMIT, SAMPLES, Measured, checks, measure

from benchsuite import Scorer
from benchsuite.contracts.plugin import parameter_model
from benchsuite.scoring.settings import ScoringSettings
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "criteria"
_SHAPES = {
    "unit": "one score per unit, `(units,)` for each layer",
    "weight": "one score per weight, of the weight's shape; a unit's score is the sum over its weights",
    "both": "one score per unit, `(units,)`, or per weight, of the weight's shape, as the suite asks",
}
_SCALES = {
    "layer": "compared within a layer; in the scopes global and protected divided by the layer's mean"
    " (scale `layer`)",
    "network": "compared as they are (scale `network`)",
}


def page(scorer: type[Scorer]) -> str:
    """The page of a criterion."""
    text = inspect.cleandoc(scorer.__doc__ or "").replace("*", r"\*")
    summary, _, rest = text.partition("\n\n")
    rule = 'yes, with `sparsities = ["native"]`' if has_rule(scorer) else "none"
    parts = [
        f"# {scorer.name}",
        summary,
        rest,
        f"**Scores:** {_SHAPES[scorer.granularity]}. Higher means keep.",
        f"**Over layers:** {_SCALES[scorer.scale]}.",
        f"**Needs:** {needs(scorer)}.",
        f"**Rule of its own for how much to remove:** {rule}.",
        _parameters(scorer),
        "Made by `make criteria` from the docstring; do not edit. [All criteria](index.md)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def needs(scorer: type[Scorer]) -> str:
    """What a criterion asks of a suite, in words."""
    asked = [] if scorer.data_free else ["training data"]
    asked += ["a training trace"] if scorer.needs_training_trace else []
    return " and ".join(asked) or "the weights alone"


def has_rule(scorer: type[Scorer]) -> bool:
    """Whether it brings a rule of how much to remove."""
    return scorer.native is not Scorer.native


def _parameters(scorer: type[Scorer]) -> str:
    properties = parameter_model(scorer).model_json_schema()["properties"] if scorer().parameters else {}
    if not properties:
        return "**Parameters:** none."
    texts = _attribute_texts(scorer)
    rows = [
        f"| `{name}` | {_values(schema)} | {_default(schema['default'])} | {texts.get(name, '')} |"
        for name, schema in properties.items()
    ]
    return "**Parameters**\n\n| name | values | default | what it is |\n|---|---|---|---|\n" + "\n".join(rows)


def _values(schema: dict[str, Any]) -> str:
    """The values that a JSON schema allows, in words."""
    if "anyOf" in schema:
        return ", or ".join(_values(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f'`"{value}"`' for value in schema["enum"])
    words = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "null": "unset"}
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    limits = [f"{text} {schema[key]:g}" for key, text in bounds.items() if key in schema]
    return " ".join([words[schema["type"]], " and ".join(limits)]).strip()


def _default(value: object) -> str:
    return "unset" if value is None else f"`{json.dumps(value)}`"


def _attribute_texts(scorer: type[Scorer]) -> dict[str, str]:
    """The strings below the class's attributes, by attribute."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(scorer))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            assert isinstance(following.value, ast.Constant)
            found[statement.target.id] = " ".join(str(following.value.value).split())
    return found


_INTRODUCTION = """\
# Criteria

Made by `make criteria`; do not edit. {number} criteria, each in one file of `plugins/benchsuite_scorers/`.
The columns:

- **granularity**: whether it scores units, weights, or both; a weight criterion scores a unit by the sum.
- **needs**: training data for activations or gradients, or a trace recorded while training.
- **scale**: `network` where scores of different layers are compared as they are; `layer` where they are
  divided by the layer's mean first.
- **rule**: whether it says itself how much to remove.
- **checks**: how many of the conformance checks it passes: {checks}.
- **deviation**: the largest difference from its second, independent computation in the tests, as a share of
  the largest score. What is learnt or drawn is compared within the error of that: see the tests.
- **ResNet-20**: processor time for scoring all its layers with {samples} images of 32 x 32, with the default
  parameters, in one thread of a CPU ({machine}), shared passes included; stopped after {limit} s.
- **stability**: the rank correlation of two scorings with other samples, estimated from halves of the
  {stability_samples} samples (see [the method](../method.md)), of a LeNet-5 trained on the handwritten
  digits; below 0.5 a ranking says more of the samples than of the network.

Measured with benchsuite {benchsuite} and torch {torch}.

| criterion | granularity | needs | scale | rule | checks | deviation | ResNet-20 | stability |
|---|---|---|---|---|--:|--:|--:|--:|
"""


def index(measured: dict[str, Measured]) -> str:
    """The table of all criteria."""
    text = _INTRODUCTION.format(
        number=len(measured),
        checks=", ".join(checks()),
        samples=SAMPLES,
        limit=LIMIT,
        stability_samples=ScoringSettings().samples,
        machine=platform.machine(),
        benchsuite=importlib.metadata.version("benchsuite"),
        torch=importlib.metadata.version("torch"),
    )
    return text + "".join(_row(scorer, measured[scorer.name]) for scorer in SCORERS)


def _row(scorer: type[Scorer], found: Measured) -> str:
    cells = [
        f"[`{scorer.name}`]({scorer.name}.md)",
        scorer.granularity,
        needs(scorer),
        scorer.scale,
        "yes" if has_rule(scorer) else "",
        f"{found.passed} of {found.checks}",
        "–" if found.deviation is None else f"{found.deviation:.0e}" if found.deviation else "0",
        _duration(found.seconds),
        "–" if found.stability is None else f"{found.stability:.2f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not served"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s" if seconds <= LIMIT else f"> {LIMIT} s"


def main() -> None:
    """Write the pages and, if asked, the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="also measure, and write the table")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    names = {f"{scorer.name}.md" for scorer in SCORERS}
    for stale in FOLDER.glob("*.md"):
        if stale.name not in names | {"index.md"}:
            stale.unlink()
    for scorer in SCORERS:
        (FOLDER / f"{scorer.name}.md").write_text(page(scorer), encoding="utf-8")
    if options.measure:
        (FOLDER / "index.md").write_text(index(measure(SCORERS)), encoding="utf-8")


if __name__ == "__main__":
    main()
