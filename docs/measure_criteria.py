"""Measure the criteria for the table of their pages: checks, second computations, time, stability."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from benchsuite.store import metric_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType

    from benchsuite import Scorer

ROOT = Path(__file__).parent.parent
SAMPLES = 256
LIMIT = 600
"""Processor seconds after which the scoring of a ResNet-20 is stopped."""


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
