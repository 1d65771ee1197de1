"""The page of supported models: made only from the survey's results."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchsuite_models.timm import TimmModel
from benchsuite_models.torchvision import TorchvisionModel

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs/make_models.py"
OUTCOMES = ("ok", "unsupported", "wrong")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_models"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_models"]


def rows_of(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def check(page: str) -> list[list[str]]:
    rows = rows_of(page)
    for model, parameters, image, outcome, units, macs, difference, trace, reason in rows:
        assert re.fullmatch(r"`(timm|torchvision|huggingface)/[\w-]+`", model)
        assert outcome in OUTCOMES
        assert re.fullmatch(r"\d+\.\d s", trace)
        if outcome == "ok":
            assert float(parameters.removesuffix(" M")) > 0
            assert int(image) > 0
            assert 0 < int(units.removesuffix("%")) <= 100
            assert float(macs.removesuffix("%")) > 0
            assert float(difference) < 1e-4
            assert bool(reason) or units == "100%"
        else:
            assert reason
    counts = re.search(
        r"(\d+) of (\d+) architectures.*?(\d+) ok,\s(\d+) unsupported, (\d+) wrong", page, re.DOTALL
    )
    surveyed, wanted, *of_outcome = map(int, counts.groups())
    assert surveyed == len(rows)
    assert of_outcome == [sum(row[3] == outcome for row in rows) for outcome in OUTCOMES]
    missing = re.search(r"Not surveyed(.*?)\.\n\n", page, re.DOTALL)
    named = re.findall(r"`\w+/[\w-]+`", missing[1]) if missing else []
    assert len(rows) + len(named) == wanted
    assert not {row[0] for row in rows} & set(named)
    return [*rows, *([name] for name in named)]


def test_the_page_in_the_repository_accounts_for_every_architecture():
    named = {row[0].strip("`") for row in check((ROOT / "docs/models.md").read_text())}
    assert {f"torchvision/{name}" for name in TorchvisionModel.architectures()} <= named
    assert sum(name.startswith("timm/") for name in named) >= 60
    assert sum(name.startswith("huggingface/") for name in named) >= 40


def test_families_of_timm_are_known_and_listed_once(script):
    assert len(set(script.TIMM)) == len(script.TIMM)
    assert set(script.TIMM) <= set(TimmModel.architectures())


def test_a_page_says_what_was_not_surveyed_and_why(script):
    rows = [
        script.Row("timm/a", "ok", "", 64, 10**6, 1.0, 0.301, 3e-16, 0.5),
        script.Row("timm/b", "unsupported", "a | b " * 100, 64, 10**6, trace_seconds=1.0),
        script.Row("torchvision/c", "unfinished", "its process was killed"),
    ]
    page = script.page(rows, ["timm/a", "timm/b", "torchvision/c", "torchvision/d"])
    assert [row[0] for row in check(page)] == ["`timm/a`", "`timm/b`", "`torchvision/c`", "`torchvision/d`"]
    assert "`torchvision/c` (its process was killed), `torchvision/d`." in page
    assert rows_of(page)[0][1:8] == ["1.00 M", "64", "ok", "100%", "30.1%", "3e-16", "0.5 s"]


def test_results_of_other_versions_are_surveyed_again(script, tmp_path):
    path = tmp_path / "results.jsonl"
    line = '{"model": "timm/a", "status": "ok", "versions": {"torch": "0"}}'
    path.write_text(line + "\n")
    assert script.read(path) == {}


@pytest.mark.slow
def test_a_run_adds_what_is_missing_and_keeps_what_is_there(tmp_path):
    results, page = tmp_path / "build/results.jsonl", tmp_path / "models.md"

    def run(*models: str) -> str:
        command = [sys.executable, SCRIPT, results, page, "--jobs", "1", "--only", *models]
        return subprocess.run(command, check=True, capture_output=True, text=True).stderr

    first = run("torchvision/squeezenet1_1")
    assert "1/1 torchvision/squeezenet1_1: ok" in first
    line = results.read_text()
    second = run("torchvision/squeezenet1_1", "timm/lcnet_035")
    assert "squeezenet" not in second
    assert results.read_text().startswith(line)
    assert len(check(page.read_text())) == 2
