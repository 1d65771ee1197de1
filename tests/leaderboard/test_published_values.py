"""Published values beside ours: differences are those of a second computation, and nothing is injected."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import statistics
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from scipy.stats import t

from benchsuite.publishing.results_file import Header, write_published
from benchsuite_leaderboard.pages.addresses import slug
from benchsuite_leaderboard.site import render
from benchsuite_leaderboard.suites import published_suites, published_values
from benchsuite_leaderboard.summary import render as render_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]
    MakeMany = Callable[..., list[TrialRecord]]

NET = {"dataset": "digits", "model": "mlp"}
CELL = {"dataset": "digits", "model": "mlp", "scorer": "alpha", "sparsity": 0.5}
VALUE: dict[str, Any] = {"value": 85, "unit": "%", "metric": "accuracy/top1", "source": "Author 2018"}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def make(*references: dict[str, Any]) -> Path:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        suite = {"suite": {"name": "tiny"}, "reference": list(references)}
        (folder / "suite.toml").write_text(tomli_w.dumps(suite), "utf-8")
        return folder

    return make


def site_of(records: list[TrialRecord], folder: Path, *runs: Path) -> Path:
    render(records, folder / "site", title="t", sources=runs)
    return folder / "site"


def page(site: Path) -> str:
    return (site / f"workloads/{slug('digits', 'mlp')}.html").read_text()


def rows(site: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((site / "published.csv").read_text())))


def test_the_difference_is_that_of_the_mean_over_seeds_and_draws(
    matrix: MakeMany, run: Callable[..., Path], tmp_path: Path
) -> None:
    records = matrix()
    metrics = ("accuracy/top1", "accuracy/top1_before_recovery", "cost/params", "accuracy/top1_dense")
    dense = {name: CELL[name] for name in ("dataset", "model")}
    references = [
        VALUE | {"metric": metrics[0]} | CELL,
        VALUE | {"metric": metrics[0]} | CELL | {"scorer": "random"},
        VALUE | {"metric": metrics[1], "value": 0.5, "unit": ""} | CELL,
        VALUE | {"metric": metrics[2], "value": 900, "unit": ""} | CELL,
        VALUE | {"metric": metrics[3], "value": 98.5} | dense,
    ]
    site = site_of(records, tmp_path, run(*references))
    found = rows(site)
    assert len(found) == len(references)
    for row, reference in zip(found, references, strict=True):
        by_seed: dict[int, list[float]] = {}
        for record in records:
            if all(record.axes[axis] == reference.get(axis, record.axes[axis]) for axis in CELL):
                by_seed.setdefault(record.axes["seed"], []).append(record.metrics[reference["metric"]])
        seeds = [statistics.fmean(values) for values in by_seed.values()]
        theirs = reference["value"] / (100 if reference["unit"] else 1)
        assert float(row["published"]) == pytest.approx(theirs)
        assert float(row["ours"]) == pytest.approx(statistics.fmean(seeds))
        assert float(row["difference"]) == pytest.approx(statistics.fmean(seeds) - theirs)
        assert int(row["networks"]) == 3
        if (spread := statistics.stdev(seeds)) > 1e-12:
            half = t.ppf(0.975, 2) * spread / math.sqrt(3)
            assert float(row["low"]) == pytest.approx(statistics.fmean(seeds) - half)
    assert json.loads((site / "published.json").read_text())[3]["published"] == 900
    # The page says the same in percent points.
    assert f"{100 * float(found[4]['difference']):+.1f}".replace("-", "\u2212") in page(site)


def test_a_seed_and_a_protocol_narrow_what_is_compared(
    matrix: MakeMany, record: Make, run: Callable[..., Path], tmp_path: Path
) -> None:
    records = [*matrix(), record("alpha", 0.5, 0.5, scope="global")]
    of_seed, of_scope = VALUE | CELL | {"seed": 1}, VALUE | CELL | {"scope": "global"}
    site = site_of(records, tmp_path, run(of_seed, of_scope))
    (mine,) = (
        r
        for r in records
        if {**r.axes, "scorer_params": 0}
        == {**r.axes, **CELL, "seed": 1, "scope": "protected", "scorer_params": 0}
    )
    found = {(row["seed"], "global" in row["board"]): row for row in rows(site)}
    assert float(found["1", False]["ours"]) == mine.metrics["accuracy/top1"]
    assert float(found["", True]["ours"]) == 0.5
    assert ("", False) not in found


def test_what_is_not_run_and_what_has_no_result_say_so(
    record: Make, run: Callable[..., Path], tmp_path: Path
) -> None:
    records = [record("alpha", 0.5, 0.9 + seed / 100, seed=seed) for seed in range(3)]
    records.append(record("alpha", 0.9, None))
    site = site_of(
        records,
        tmp_path,
        run(
            VALUE | {"name": "decision tree", "value": 80.55, "dataset": "digits"},
            VALUE | CELL | {"scorer": "gamma"},
            VALUE | CELL | {"sparsity": 0.9},
            VALUE | {"name": "elsewhere", "dataset": "other"},
        ),
    )
    text = page(site)
    assert "decision tree" in text
    assert ">80.55<" in text
    assert "no result yet" in text
    assert "elsewhere" not in text
    tree, gamma, failed = rows(site)
    assert (tree["ours"], tree["difference"], tree["name"]) == ("", "", "decision tree")
    assert (gamma["ours"], failed["ours"], failed["networks"]) == ("", "", "0")
    section = text[text.index("Published values</h3>") :]
    assert "failed" in section[: section.index("</table>")]


def test_the_note_stands_where_ours_is_another(
    matrix: MakeMany, run: Callable[..., Path], tmp_path: Path
) -> None:
    records = matrix()
    ours = statistics.fmean(
        r.metrics["accuracy/top1"] for r in records if all(r.axes[a] == v for a, v in CELL.items())
    )
    near, far = {"value": ours, "unit": "", "note": "Near it."}, {"value": 70, "note": "Far from it."}
    text = page(site_of(records, tmp_path, run(VALUE | CELL | near, VALUE | CELL | far)))
    assert "Near it." not in text
    assert "Far from it." in text
    assert text.count("inside our interval") == text.count("outside our interval") == 1


def test_charts_have_a_diamond_where_their_axis_is_the_metric(
    matrix: MakeMany, run: Callable[..., Path], tmp_path: Path
) -> None:
    def diamonds(reference: dict[str, Any]) -> dict[str, int]:
        text = page(site_of(matrix(), tmp_path, run(reference)))
        parts = re.split(r'<div class="of-(\w+)">', text)[1:]
        return {
            key: len(re.findall(r"<title>published: 85% \(Author 2018\)</title>", part))
            for key, part in zip(parts[::2], parts[1::2], strict=True)
        }

    assert diamonds(VALUE | CELL) == {"after": 1, "before": 0}
    assert diamonds(VALUE | CELL | {"metric": "accuracy/top1_before_recovery"}) == {"after": 0, "before": 1}
    assert diamonds(VALUE | CELL | {"scorer": "absent"}) == {"after": 0, "before": 0}


def test_a_changed_value_makes_the_site_again_and_none_takes_its_files_away(
    matrix: MakeMany, run: Callable[..., Path], tmp_path: Path
) -> None:
    site = site_of(matrix(), tmp_path, run(VALUE | CELL))
    assert ">85<" in page(site)
    site_of(matrix(), tmp_path, run(VALUE | CELL | {"value": 86}))
    assert ">86<" in page(site)
    assert "published.csv" in (site / "index.html").read_text()
    site_of(matrix(), tmp_path, run())
    assert "Published values" not in page(site)
    assert not list(site.glob("published.*"))


def test_results_files_bring_theirs_and_nothing_of_them_is_obeyed(
    matrix: MakeMany, tmp_path: Path, hostile: str
) -> None:
    good = VALUE | CELL | {"source": f"=1+1{hostile}", "note": hostile, "url": "https://example.org/?a=1&b=2"}
    bad: list[Any] = [
        VALUE | CELL | {"url": "javascript:alert(1)"},
        VALUE | CELL | {"value": float("nan")},
        {"value": 1},
        VALUE | CELL | {"dataset": {"name": {"a": 1}}},
    ]
    suite = tomli_w.dumps({"suite": {"name": "x"}, "reference": [*bad, good, good]})
    file = tmp_path / "theirs.jsonl"
    write_published(file, Header(name="x", suite=suite, cells=1, versions={}), matrix())
    suites, notes = published_suites([file])
    found = published_values(suites)
    assert [each.source for each in found] == [good["source"]]
    assert notes == ("theirs.jsonl: reference[0, 1, 2, 3] cannot be read and is left out",)
    site = site_of(matrix(), tmp_path, file)
    text = page(site)
    assert "reference[0, 1, 2, 3] cannot be read" in (site / "index.html").read_text()
    assert "<script>alert" not in text
    assert "javascript:alert" not in text
    assert 'href="https://example.org/?a=1&amp;b=2"' in text
    assert rows(site)[0]["source"].startswith("'=1+1")


@pytest.mark.parametrize("text", ["", "reference = 3", "[reference]\nvalue = 1", "[[reference", "\0"])
def test_suites_without_any_are_no_trouble(tmp_path: Path, text: str) -> None:
    (tmp_path / "suite.toml").write_text(text, "utf-8")
    assert published_suites([tmp_path, tmp_path / "absent"])[0] == ()


def test_each_suite_has_a_page_of_its_own(
    matrix: MakeMany, run: Callable[..., Path], tmp_path: Path, hostile: str
) -> None:
    """With all of its values, in the order of its file, and of no other suite's."""
    first = run(VALUE | CELL | {"value": 61}, VALUE | {"name": "tree", "value": 62, **NET})
    text = (first / "suite.toml").read_text()
    (first / "suite.toml").write_text(text.replace('name = "tiny"', f"name = {json.dumps(hostile)}"))
    other = tmp_path / "other"
    other.mkdir()
    suite = {"suite": {"name": "second", "description": "What a <b>paper</b> says."}}
    (other / "suite.toml").write_text(tomli_w.dumps(suite | {"reference": [VALUE | CELL | {"value": 63}]}))
    site = site_of(matrix(), tmp_path, first, other)
    index = (site / "published.html").read_text()
    pages = [site / link for link in re.findall(r'href="(published/[^"]+)"', index)]
    mine, theirs = (path.read_text() for path in pages)
    assert re.findall(r">(6[123])<", mine) == ["61", "62"]
    assert re.findall(r">(6[123])<", theirs) == ["63"]
    assert "What a &lt;b&gt;paper&lt;/b&gt; says." in theirs
    assert "<script>alert" not in mine
    assert 'href="published.html"' in (site / "index.html").read_text()
    site_of(matrix(), tmp_path, other)
    assert [path.name for path in (site / "published").iterdir()] == [pages[1].name]
    site_of(matrix(), tmp_path)
    assert not list((site / "published").iterdir())


def test_the_summary_has_them(
    matrix: MakeMany, run: Callable[..., Path], tmp_path: Path, hostile: str
) -> None:
    tree = VALUE | {"name": f"tree | {hostile}", "dataset": "digits", "model": "mlp"}
    references = (VALUE | CELL, tree)
    render_summary(matrix(), tmp_path / "summary", title="t", sources=[run(*references)])
    text = (tmp_path / "summary/summary.md").read_text()
    (mine,) = (line for line in text.splitlines() if "accuracy/top1" in line and "alpha" in line)
    assert [mine.split("|")[i].strip() for i in (4, 6)] == ["85", "Author 2018"]
    (other,) = (line for line in text.splitlines() if "`tree" in line)
    assert other.count("|") == mine.count("|")
    assert "<script>" not in text
