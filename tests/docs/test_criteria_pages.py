"""The pages of the criteria: up to date with the docstrings, which contain what a reader must know."""

from __future__ import annotations

import importlib
import math
import re
import sys
from pathlib import Path

import pytest

from benchsuite import Scorer
from benchsuite_scorers.registration import SCORERS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/criteria"


@pytest.fixture(scope="module")
def folder_of_scripts():
    sys.path.insert(0, str(ROOT / "docs"))
    yield
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def script(folder_of_scripts):
    return importlib.import_module("make_criteria")


@pytest.fixture(scope="module")
def measuring(folder_of_scripts):
    return importlib.import_module("measure_criteria")


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_the_docstring_says_cost_source_and_when_it_fails(scorer):
    assert "\n    Source: " in scorer.__doc__
    assert "Cost: " in scorer.__doc__
    assert re.search(r"\bfails?\b", scorer.__doc__)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_the_page_is_up_to_date(scorer, script):
    assert (FOLDER / f"{scorer.name}.md").read_text() == script.page(scorer), "run: make criteria"


def test_every_page_belongs_to_a_criterion_and_every_criterion_is_in_the_table(script):
    names = {scorer.name for scorer in SCORERS}
    assert {path.stem for path in FOLDER.glob("*.md")} == names | {"index"}
    rows = re.findall(
        r"^\| \[`(.*?)`\]\((.*?)\.md\) \| (.*?) \|", (FOLDER / "index.md").read_text(), re.MULTILINE
    )
    assert rows == [(scorer.name, scorer.name, scorer.granularity) for scorer in SCORERS]


def test_parameters_are_shown_with_values_default_and_text(script):
    class Odd(Scorer):
        """Nothing.

        Half * of it.
        """

        name = "odd"
        granularity = "weight"
        needs_training_trace = True
        data_free = True
        share: float = 0.5
        """A share."""
        places: int | None = None
        """Places, or
        all."""

        def native(self, scores, context):
            return {}

    page = script.page(Odd)
    assert "| `share` | number | `0.5` | A share. |" in page
    assert "| `places` | whole number, or unset | unset | Places, or all. |" in page
    assert r"Half \* of it." in page
    assert "**Needs:** a training trace." in page
    assert 'sparsities = ["native"]' in page


def test_the_largest_deviation_of_a_report_counts(measuring, tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testcase><properties><property name="deviation: a" value="1e-7"/>'
        '<property name="deviation: a" value="3e-7"/><property name="other" value="9"/></properties>'
        '</testcase><testcase><properties><property name="deviation: b" value="0"/></properties></testcase>'
        "</testsuites>"
    )
    assert measuring.read_deviations(report) == {"a": 3e-7, "b": 0.0}


def test_time_is_measured_up_to_a_limit(measuring):
    class Slow(Scorer):
        """Never ends."""

        name = "slow"

        def score(self, context):
            while True:
                pass

    by_name = {scorer.name: scorer for scorer in SCORERS}
    assert 0 < measuring.measure_time(by_name["magnitude-l1"], 30.0) < 30
    assert measuring.measure_time(Slow, 0.2) == math.inf


def test_durations_are_shown_up_to_the_limit(script, measuring):
    shown = [script._duration(seconds) for seconds in (None, 0.123, 25.04, measuring.LIMIT, math.inf)]
    assert shown == ["not served", "0.12 s", "25 s", f"{measuring.LIMIT} s", f"> {measuring.LIMIT} s"]
    everything = {scorer.name: measuring.Measured(6, 6, None, 125.4, 0.417) for scorer in SCORERS}
    assert script.index(everything).count("| 125 s | 0.42 |") == len(SCORERS)
    assert f"stopped after {measuring.LIMIT} s." in script.index(everything)


def test_a_trace_alone_needs_no_data(script):
    by_name = {scorer.name: scorer for scorer in SCORERS}
    assert script.needs(by_name["karnin"]) == "a training trace"
    assert script.needs(by_name["snip"]) == "training data"
