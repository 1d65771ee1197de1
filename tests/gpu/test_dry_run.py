"""`make gpu` on a machine without a GPU: the dry run goes through every part and its report is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from gpurun import budget, carry, environment, figures, report
from gpurun.parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

RUN = Path(__file__).with_name("run.py")


def run(output: Path, *words: str, path: Sequence[Path] = ()) -> tuple[int, str, dict[str, Any]]:
    """The exit code, the page and the data of a run."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, str(RUN), "--output", str(output), "--wheels", str(output / "none"), *words],
        capture_output=True,
        text=True,
        env=surroundings,
    )
    page = output / "gpu-report.md"
    assert page.exists(), done.stderr
    return done.returncode, page.read_text(), json.loads((output / "gpu-report.json").read_text())


def part(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(part for part in data["parts"] if part["name"] == name)


def lines(data: dict[str, Any], name: str, kind: str) -> list[dict[str, Any]]:
    return [line for line in part(data, name)["figures"] if line["kind"] == kind]


@pytest.mark.slow
def test_a_dry_run_makes_every_part(tmp_path: Path) -> None:
    code, page, data = run(tmp_path, "--dry", "--budget", "500")
    assert code == 0, page
    assert [(p["name"], p["status"]) for p in data["parts"]] == [(name, "done") for name in PARTS]
    assert data["dry"] is True
    assert "no figure below means anything" in page
    facts = {line["name"]: line["value"] for line in lines(data, "machine", "fact")}
    assert facts["torch"] == torch.__version__.partition("+")[0]
    assert {"device", "compute capability", "cuDNN", "driver", "commit"} <= set(facts)
    left_out = {line["name"] for line in lines(data, "machine", "left out")}
    assert {"mlflow", "xgboost", "jinja2", "vl_convert"} <= left_out, "the dry run hides them"
    tests = {line["name"]: line["outcome"] for line in lines(data, "suspects", "test")}
    assert any("test_suspects.py" in name for name in tests)
    assert any("test_training.py" in name for name in tests)
    assert set(tests.values()) <= {"passed", "skipped"}
    assert sum(outcome == "passed" for outcome in tests.values()) > 15
    for name in ("training", "measuring", "scoring", "dissection", "jobs", "quick_matrix"):
        ratios = lines(data, name, "ratio")
        assert ratios, name
        assert all(r["above"][1] > 0 and r["below"][1] > 0 for r in ratios), name
        assert all(r["ratio"] == pytest.approx(r["above"][1] / r["below"][1]) for r in ratios), name
        assert f"## {name}" in page
    assert "airbench94 on an A100" in page
    cells = [line["values"] for line in lines(data, "quick_matrix", "cell")]
    assert cells, "trials side by side"
    assert all(cell["after, CPU"] == cell["after, device"] for cell in cells), "both are the CPU"
    for name in ("quick_matrix", "full_slice"):
        counted = {f["name"]: f["value"] for f in lines(data, name, "fact")}
        assert "done" in counted["trials on cuda:0"]
    energies = {f["name"]: f["value"] for f in lines(data, "quick_matrix", "fact")}
    assert energies["of them with latency and with energy, cuda:0"] == "1 and 1"


def test_a_part_that_raises_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/torchvision.py").write_text("raise RuntimeError('this library is broken')\n")
    output = tmp_path / "report"
    code, page, data = run(
        output, "--dry", "--only", "machine,dissection,jobs", "--budget", "120", path=[tmp_path / "broken"]
    )
    assert code == 1
    statuses = {p["name"]: p["status"] for p in data["parts"]}
    assert statuses == {"machine": "done", "dissection": "failed", "jobs": "done"}
    assert (
        "RuntimeError: this library is broken" in page.partition("## Failures")[2].partition("## machine")[0]
    )


def test_a_part_that_takes_too_long_is_cut_off_and_named(tmp_path: Path) -> None:
    code, page, data = run(tmp_path, "--dry", "--only", "training", "--budget", "6")
    assert code == 1
    assert part(data, "training")["status"] == "cut off"
    assert "what training had not done after 1 s" in page


def test_a_part_whose_library_is_missing_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = replace(PARTS["training"], needs=("torch", "no_such_library"))
    monkeypatch.setitem(PARTS, "training", part)
    monkeypatch.delitem(sys.modules, "gpurun.parts.training", raising=False)
    into = tmp_path / "training.jsonl"
    code = budget.run_part(Namespace(part="training", into=into, dry=True, data=None, budget=10.0))
    assert code == budget.LEFT_OUT
    assert "gpurun.parts.training" not in sys.modules, "its imports would fail"
    outcome = budget.Outcome("training", "left out", 1.0, 10.0, figures.read_figures(into))
    page = report.write_report([outcome], tmp_path, dry=True, seconds=1.0).read_text()
    assert f"- {part.title}: not installed here: no_such_library" in page


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    code, page, data = run(tmp_path, "--only", "machine,training")
    assert code == 2
    assert [p["status"] for p in data["parts"]] == ["no GPU"]
    assert "machine: no GPU" in page


def test_the_entry_points_are_those_of_the_project(tmp_path: Path) -> None:
    environment.write_entry_points(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from importlib.metadata import distributions\n"
        "found = next(d for d in distributions(path=[sys.argv[1]]))\n"
        "print(found.name, sorted(f'{p.group}:{p.name}={p.value}' for p in found.entry_points))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("benchsuite [")
    assert "benchsuite:scorers=benchsuite_scorers.registration" in done.stdout
    assert "benchsuite.sites:leaderboard=benchsuite_leaderboard.site:render" in done.stdout


def test_what_was_carried_counts_for_its_own_version_of_python(tmp_path: Path) -> None:
    assert carry.carried_folder(tmp_path) == []
    own = tmp_path / f"python{sys.version_info.major}.{sys.version_info.minor}"
    own.mkdir()
    (tmp_path / "python2.7").mkdir()
    assert carry.carried_folder(tmp_path) == [own.resolve()]
