"""Write the pages of the criteria: one for each, from its docstring, and a table with what was measured.

`python docs/make_criteria.py` writes `docs/criteria/<name>.md`. With `--measure` it also runs every check of
`benchsuite.testing` and the tests that compare each criterion with its second computation, times each on a
ResNet-20, and writes `docs/criteria/index.md`.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import inspect
import json
import math
import platform
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from benchsuite import Scorer
from benchsuite.contracts.plugin import parameter_model
from benchsuite.store import metric_names
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType
    from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "criteria"
SAMPLES = 256
LIMIT = 600
"""Processor seconds after which the scoring of a ResNet-20 is stopped."""
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


@dataclass(frozen=True)
class Measured:
    """What was measured of a criterion.

    Attributes:
        passed: checks that it passed.
        checks: how many there are.
        deviation: largest difference from its second computation, of the largest score; None without one.
        seconds: of processor time for scoring a ResNet-20; None where it cannot be served, infinite where it
            was stopped.
        stability: of its scores of a trained LeNet-5; None of a criterion that reads no data.
    """

    passed: int
    checks: int
    deviation: float | None
    seconds: float | None
    stability: float | None


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


def checks() -> dict[str, Callable[[Scorer], None]]:
    """The conformance checks that mean something on this machine."""
    import torch

    from benchsuite.testing.conformance import CHECKS

    return {name: check for name, check in CHECKS.items() if name != "gpu" or torch.cuda.is_available()}


def measure_checks(scorer: type[Scorer]) -> int:
    """How many of the conformance checks a criterion passes."""
    passed = 0
    for name, check in checks().items():
        try:
            check(scorer())
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, it is not passed
            sys.stderr.write(f"{scorer.name}: {name}: {error}\n")
        else:
            passed += 1
    return passed


class _OutOfTimeError(BaseException):
    """Not an `Exception`, so that nothing on the way takes it for a criterion's error."""


def measure_time(scorer: type[Scorer], limit: float) -> float | None:
    """Processor seconds for scoring a ResNet-20 with random weights on 256 random images, in one thread."""
    import torch

    from benchsuite import Unsupported
    from benchsuite.pruning.tracing.trace import trace
    from benchsuite.scoring.check import run_scorer
    from benchsuite.scoring.context import ScoringContext
    from benchsuite.testing.conformance import tiny_trace
    from benchsuite_models.cifar_resnet import ResNet20

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _OutOfTimeError

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ResNet20().build((3, 32, 32), 10).eval()
    inputs, labels = torch.randn(SAMPLES, 3, 32, 32), torch.arange(SAMPLES) % 10
    graph = trace(model, inputs[:1])
    context = ScoringContext(
        model, graph.layers, inputs, labels, groups=graph.groups, batch_size=64, trace=tiny_trace(model)
    )
    signal.signal(signal.SIGPROF, stop)
    started = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_PROF, limit)
        run_scorer(scorer(), context)
    except Unsupported:
        return None
    except _OutOfTimeError:
        return math.inf
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return time.process_time() - started


def measure_deviations() -> dict[str, float]:
    """The largest deviation that the tests note for each criterion."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(ROOT / "tests/scorers")]
        command += [f"--junitxml={report}", "--ignore", str(ROOT / "tests/scorers/test_conformance.py")]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)  # noqa: S603 - fixed words
        return read_deviations(report)


def read_deviations(report: Path) -> dict[str, float]:
    """The largest deviation by criterion in a JUnit report of the tests."""
    found: dict[str, float] = defaultdict(float)
    for each in ET.parse(report).iter("property"):  # noqa: S314 - pytest wrote it just now
        kind, _, name = each.attrib["name"].partition(": ")
        if kind == "deviation":
            found[name] = max(found[name], float(each.attrib["value"]))
    return dict(found)


_STABILITY_SUITE = """
[suite]
name = "stability"
seeds = [0]
sparsities = [0.5]
scorers = [{scorers}]

[[workload]]
dataset = {{ name = "digits", size = 28 }}
models = ["lenet5"]

[pruning]
granularity = ["unit", "weight"]
scope = "layer"
budget = "params"

[recovery]
epochs = 0

[metrics]
latency = false
"""


def measure_stability(scorers: Iterable[type[Scorer]]) -> dict[str, float]:
    """The stability of each criterion's scores of a LeNet-5 trained on digits, of units where it has them."""
    named = ", ".join(f'"{scorer.name}"' for scorer in scorers if not scorer.data_free)
    with tempfile.TemporaryDirectory() as folder:
        suite, run = Path(folder) / "stability.toml", Path(folder) / "run"
        suite.write_text(_STABILITY_SUITE.format(scorers=named), encoding="utf-8")
        command = [str(Path(sys.executable).parent / "benchsuite"), "run", str(suite), "--output", str(run)]
        subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - fixed words
        records = [json.loads(line) for line in (run / "results.jsonl").read_text("utf-8").splitlines()]
    records.sort(key=lambda record: record["axes"]["granularity"], reverse=True)
    return {
        record["axes"]["scorer"]: record["metrics"][metric_names.STABILITY]
        for record in records
        if metric_names.STABILITY in record["metrics"]
    }


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
  512 samples (see [the method](../method.md)), of a LeNet-5 trained on the handwritten digits; below 0.5 a
  ranking says more of the samples than of the network.

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


def measure(scorers: Sequence[type[Scorer]]) -> dict[str, Measured]:
    """Everything that the table says of these criteria."""
    deviations, stable = measure_deviations(), measure_stability(scorers)
    found = {}
    for scorer in scorers:
        found[scorer.name] = Measured(
            measure_checks(scorer),
            len(checks()),
            deviations.get(scorer.name),
            measure_time(scorer, LIMIT),
            stable.get(scorer.name),
        )
        sys.stderr.write(f"{scorer.name}: {found[scorer.name]}\n")
    return found


if __name__ == "__main__":
    main()
