"""The site as a reader sees it: opened from a file in Chromium, without a network."""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_up_records import HOSTILE, make_matrix, make_record

from benchsuite.commands.loading import select
from benchsuite.store.record import TrialRecord
from benchsuite_leaderboard.freshness import FRESH, mark_stale
from benchsuite_leaderboard.pages.addresses import slug, trial_id
from benchsuite_leaderboard.site import render
from benchsuite_leaderboard.statistics.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    MakeMany = Callable[..., list[TrialRecord]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium found; name one in the environment variable CHROMIUM")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser: Browser, **context: object) -> Iterator[tuple[Page, list[str]]]:
    """A page without a network, and the list of its later errors."""
    complaints: list[str] = []
    made = browser.new_context(offline=True, **context)  # type: ignore[arg-type] # names of options
    page = made.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith("file:") else complaints.append(request.url),
    )
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    yield page, complaints
    made.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrialRecord]]:
    records = make_matrix()
    records += [
        make_record(HOSTILE, 0.5, 0.4, seed=seed, model=model)
        for seed in range(3)
        for model in ("mlp", "resnet")
    ]
    records += [make_record("beta", 0.99, None, error=HOSTILE)]
    folder = tmp_path_factory.mktemp("site")
    render(records, folder, title=f"demo {HOSTILE}")
    return folder, records


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrialRecord]]:
    """A site with the records of a run directory that has layers and a picture of one trial."""
    run = tmp_path_factory.mktemp("run")
    records = make_matrix(workloads=[("digits", "mlp")], seeds=[0])
    records = [TrialRecord(**{**vars(r), "key": f"{i:020x}"}) for i, r in enumerate(records)]
    records[0].metrics.update(
        {"latency/batch1_threads4_speedup_low": 2.5, "latency/batch1_speedup_wide": 1.0}
    )
    records[0].metrics.update(
        {"latency/batch1_lower_ms": 0.4, "interpretability/color/detectors": 3.0, HOSTILE: 2.5}
    )
    folder = run / "stages" / records[0].key
    folder.mkdir(parents=True)
    layers = f"conv1,16,4,144,36\n{HOSTILE.replace(chr(34), '')},2,1,8,4\n"
    heads = "layer,units_dense,units,weights_dense,weights_nonzero\n"
    (folder / "layers.csv").write_text(heads + layers, "utf-8")
    (folder / "confusion.csv").write_text("true \\ predicted,<b>,c\n<b>,3,1\nc,0,4\n", "utf-8")
    (folder / "recovery.json").write_text('{"losses": [0.5, 0.25]}', "utf-8")
    (folder / "report-trees.csv").write_text("layer,fit\n<b>x</b>,0.123456789\nc,\n", "utf-8")
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    (folder / "concepts.png").write_bytes(base64.b64decode(png))
    site = tmp_path_factory.mktemp("kept")
    render(records, site, title="kept", sources=[run])
    return site, records


def column(page: Page, table: str, number: int) -> list[str]:
    cells = page.locator(f"{table} tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_opens_without_complaint(
    browser: Browser, site: tuple[Path, list[TrialRecord]], scheme: str, width: int
) -> None:
    folder, records = site
    with opened(browser, color_scheme=scheme, viewport={"width": width, "height": 800}) as (page, complaints):
        for path in sorted(folder.rglob("*.html")):
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.locator("h1").count() == 1, path
        for record in records[:: len(records) // 3]:
            open_trial(page, folder, trial_id(record.key))
            page.wait_for_selector("#again")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), record.axes
        assert complaints == []


def test_numbers_are_those_of_the_records(browser: Browser, site: tuple[Path, list[TrialRecord]]) -> None:
    folder, records = site
    with opened(browser) as (page, _):
        page.goto((folder / "cells.html").as_uri())
        rows = page.eval_on_selector_all(
            "#cells tbody tr",
            "rows => rows.map(r => [...r.cells].slice(0, 5).map(c => [c.innerText.trim(), c.dataset.v]))",
        )
    seen = 0
    for (name, _), (model, _), (dataset, _), (removed, _), (shown, exact) in rows:
        values = [
            np.mean(draws)
            for seed in range(3)
            if (
                draws := [
                    r.metrics["accuracy/top1"]
                    for r in records
                    if r.status == "done"
                    and r.axes["scorer"] == name
                    and (r.axes["model"], r.axes["dataset"], r.axes["seed"]) == (model, dataset, seed)
                    and f"{100 * r.axes['sparsity']:.10g}%" == removed
                ]
            )
        ]
        if values:
            seen += 1
            assert float(exact) == pytest.approx(np.mean(values))
            assert shown.startswith(f"{100 * np.mean(values):.1f}")
    assert seen >= 20


def test_sorting_by_a_column_head(browser: Browser, site: tuple[Path, list[TrialRecord]]) -> None:
    folder, _ = site
    with opened(browser) as (page, complaints):
        page.goto((folder / "cells.html").as_uri())
        page.get_by_role("button", name="Accuracy", exact=True).click()

        def accuracies() -> list[float]:
            texts = column(page, "#cells", 5)
            return [float(text.split()[0]) for text in texts if text[0].isdigit()]

        assert accuracies() == sorted(accuracies(), reverse=True)
        assert column(page, "#cells", 5)[-1] in {"failed", "–"}
        page.get_by_role("button", name="Accuracy", exact=True).click()
        assert accuracies() == sorted(accuracies())
        assert column(page, "#cells", 5)[-1] in {"failed", "–"}
        head = page.locator("#cells th[aria-sort]")
        assert head.all_inner_texts() == ["Accuracy"]
        page.reload()
        assert accuracies() == sorted(accuracies())
        assert complaints == []


def test_filters_narrow_and_stay_in_the_address(
    browser: Browser, site: tuple[Path, list[TrialRecord]]
) -> None:
    folder, _ = site
    with opened(browser) as (page, complaints):
        page.goto((folder / "cells.html").as_uri())
        page.locator("select[name=model]").select_option("resnet")
        page.get_by_role("searchbox").fill("ALPHA")
        for _ in range(2):
            assert set(column(page, "#cells", 2)) == {"resnet"}
            assert set(column(page, "#cells", 1)) == {"alpha", "reversed(alpha)"}
            assert page.locator("output").inner_text().startswith("4 of ")
            page.reload()
        assert complaints == []


def test_filters_of_every_axis_work(browser: Browser, tmp_path: Path) -> None:
    """A field's name must not stand in the way of what the script reads of its form."""
    workloads = [("digits", "mlp"), ("shapes", "resnet")]
    records = make_matrix(workloads=workloads, seeds=[0, 1])
    records += [
        make_record(
            "alpha", 0.5, 0.5, dataset=dataset, model=model, seed=seed, schedule="at-init", scope="row"
        )
        for dataset, model in workloads
        for seed in (0, 1)
    ]
    render(records, tmp_path, title="axes")
    with opened(browser) as (page, complaints):
        page.goto((tmp_path / "cells.html").as_uri())
        names = page.eval_on_selector_all("form.filters select", "all => all.map(each => each.name)")
        assert {"dataset", "model"} <= set(names)
        everything = page.locator("output").inner_text()
        for name in names:
            select = page.locator(f"select[name='{name}']")
            value = select.locator("option").nth(1).get_attribute("value")
            select.select_option(value)
            assert page.locator("output").inner_text() != everything, name
            select.select_option("")
        assert page.locator("output").inner_text() == everything
        assert complaints == []


def test_the_choice_of_accuracy(browser: Browser, site: tuple[Path, list[TrialRecord]]) -> None:
    folder, _ = site
    with opened(browser) as (page, complaints):
        page.goto((folder / "index.html").as_uri())
        assert page.locator(".of-after").first.is_visible()
        assert not page.locator(".of-before").first.is_visible()
        page.get_by_role("radio", name="before recovery").check()
        page.reload()
        assert page.locator(".of-before").first.is_visible()
        assert not page.locator(".of-after").first.is_visible()
        assert complaints == []


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrialRecord]]:
    """Two boards; on the second, which lacks a workload, another criterion is the best."""
    records = make_matrix()
    for each in make_matrix(scorers=("beta", "alpha", "random"), workloads=[("digits", "mlp")]):
        axes = {**each.axes, "scope": "global"}
        records.append(TrialRecord(**{**vars(each), "axes": axes, "key": f"{each.key} global"}))
    folder = tmp_path_factory.mktemp("boards")
    render(records, folder, title="boards")
    return folder, records


def test_the_picker_answers_for_the_choice_of_its_address(
    browser: Browser, boards: tuple[Path, list[TrialRecord]]
) -> None:
    folder, records = boards
    with opened(browser, viewport={"width": 1280, "height": 800}) as (page, complaints):
        page.goto((folder / "index.html").as_uri() + "?model=resnet&removed=90%25")
        answer = page.locator("#answer")
        assert page.locator("#answer .winner").inner_text() == "alpha"
        values = [
            r.metrics["accuracy/top1"]
            for r in records
            if (r.axes["scorer"], r.axes["model"], r.axes["sparsity"], r.axes["scope"])
            == ("alpha", "resnet", 0.9, "protected")
        ]
        assert f"{100 * np.mean(values):.1f}% ±" in answer.inner_text()
        assert f"{100 * np.mean(values) / 2:.1f}%" in answer.inner_text()
        assert "better than random" in answer.inner_text()
        assert "97.0%" in answer.inner_text()
        assert "1.50×, precision unknown" in answer.inner_text()
        # The criterion, how sure, how fast and where its network is: all on the first screen.
        for part in (".winner", ".sure", ".facts", "#take"):
            box = page.locator(f"#answer {part}").bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < 800, part
        page.locator("#answer a[href^='trial.html']").first.click()
        page.wait_for_selector("#again")
        assert page.locator("#where").inner_text().startswith("90% removed, resnet on digits, seed 0")
        assert complaints == []


def test_the_picker_s_choice_stays_in_the_address(
    browser: Browser, boards: tuple[Path, list[TrialRecord]]
) -> None:
    folder, _ = boards
    with opened(browser) as (page, complaints):
        page.goto((folder / "index.html").as_uri())
        assert page.locator("#answer .winner").inner_text() == "alpha"
        page.get_by_label("Model").select_option("resnet")
        page.locator("#picker select[name=board]").select_option(label="global scope")
        # The board lacks that network, so another is chosen.
        assert page.get_by_label("Model").input_value() == "mlp"
        page.get_by_label("Removed").select_option("90%")
        for _ in range(2):
            assert page.locator("#answer .winner").inner_text() == "beta"
            assert page.get_by_label("Removed").input_value() == "90%"
            page.reload()
        page.locator("#picker select[name=board]").select_option(label="protected scope")
        page.get_by_label("Data set").select_option("all")
        assert "these workloads" in page.locator("#answer .sure").inner_text()
        assert page.locator("#take").count() == 0
        assert complaints == []


@pytest.mark.parametrize(
    "query", ["?dataset=<b>&model=x&removed=%00&board=1", "?removed=__proto__", "?board=-1"]
)
def test_an_address_that_names_nothing_gets_an_answer(
    browser: Browser, boards: tuple[Path, list[TrialRecord]], query: str
) -> None:
    folder, _ = boards
    with opened(browser) as (page, complaints):
        page.goto((folder / "index.html").as_uri() + query)
        assert page.locator("#answer .winner").inner_text() == "alpha"
        assert complaints == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?removed=30%25&model=mlp", ["30% was not measured; the nearest is 50%."]),
        ("?removed=80%25", ["80% was not measured; the nearest is 90%."]),
        ("?dataset=mnist", ["There is no data set “mnist” here; this is “digits”."]),
        ("?model=vgg", ["There is no model “vgg” on this data set here; this is “mlp”."]),
        ("?board=old", ["There is no board “old” here."]),
        ("?removed=50", []),
        ("?dataset=all&model=mlp", []),
        ("?removed=90%25&model=resnet", []),
        ("", []),
    ],
)
def test_what_an_address_names_and_the_site_lacks_is_said(
    browser: Browser, boards: tuple[Path, list[TrialRecord]], query: str, said: list[str]
) -> None:
    folder, _ = boards
    with opened(browser) as (page, complaints):
        page.goto((folder / "index.html").as_uri() + query)
        assert page.locator("#answer .notice").all_inner_texts() == said
        page.get_by_label("Removed").select_option("90%")
        page.get_by_label("Removed").select_option("50%")
        assert page.locator("#answer .notice").count() == 0
        assert complaints == []


def test_the_picker_s_counts_are_of_those_it_names_and_those_a_table_marks(
    browser: Browser, tmp_path: Path
) -> None:
    """15 with the highest mean and 9 others that may be best, on one of two workloads."""
    places = (0.003, -0.003, 0.0)
    records = [
        make_record(f"{kind}-{i:02d}", 0.5, value + places[(seed + i) % 3], seed=seed, model=model)
        for kind, number, value in (("equal", 15, 0.9), ("near", 9, 0.8995))
        for i in range(number)
        for seed in range(3)
        for model in ("mlp", "resnet")
    ]
    render(records, tmp_path, title="many")
    with opened(browser) as (page, complaints):
        page.goto((tmp_path / "index.html").as_uri() + "?model=mlp")
        text = page.locator("#answer").inner_text()
        assert page.locator("#answer .winner b").count() == 6
        assert "and 9 more have the same mean" in text
        assert "9 others may be best too: near-" in text
        page.locator("#answer summary", has_text="may be best too").click()
        assert page.locator("#answer .options tbody tr").count() == 12
        rest = page.locator("#answer details p.quiet")
        assert "9 more with the highest mean and 3 more that may be best" in rest.inner_text()
        rest.locator("a").click()
        marks = page.locator("table[data-key=after] td .mark")
        assert sum(text.startswith("●") for text in marks.all_inner_texts()) == 15
        assert sum(text.startswith("○") for text in marks.all_inner_texts()) == 9
        assert complaints == []


def test_the_picker_says_who_is_not_compared_and_on_which_workloads(browser: Browser, tmp_path: Path) -> None:
    """Half of the networks was asked of one workload, where `alpha` and `delta` each lack another network."""
    records = make_matrix(scorers=("alpha", "beta", "gamma", "delta", "random"))
    records = [r for r in records if (r.axes["model"], r.axes["sparsity"]) != ("resnet", 0.5)]
    lost = {("alpha", 0), ("delta", 1)}
    records = [
        r for r in records if (r.axes["scorer"], r.axes["seed"]) not in lost or r.axes["sparsity"] != 0.5
    ]
    render(records, tmp_path, title="gaps")
    with opened(browser) as (page, complaints):
        page.goto((tmp_path / "index.html").as_uri() + "?dataset=all&removed=50%25")
        text = page.locator("#answer").inner_text()
        assert "50% was asked of 1 of 2 workloads: all means here are over these alone." in text
        assert "Not compared: delta (2 of 3 networks). What is said here is of those compared." in text
        cited = page.locator("#cite").text_content() or ""
        assert "mean over 1 of 2 workloads" in cited
        assert "not compared: delta (2 of 3 networks)" in cited
        page.get_by_label("Removed").select_option("90%")
        assert "compared:" not in page.locator("#answer").inner_text()
        assert complaints == []


def test_a_number_is_cited_with_its_interval_its_claim_and_its_source(
    browser: Browser, boards: tuple[Path, list[TrialRecord]]
) -> None:
    folder, records = boards
    with opened(browser) as (page, complaints):
        page.goto((folder / "index.html").as_uri() + "?model=resnet&removed=90%25")
        page.locator(".cite summary").click()
        text = page.locator("#cite").inner_text()
        values = [
            r.metrics["accuracy/top1"]
            for r in records
            if (r.axes["scorer"], r.axes["model"], r.axes["sparsity"], r.axes["scope"])
            == ("alpha", "resnet", 0.9, "protected")
        ]
        whole = mean_interval([values])
        assert whole is not None
        assert whole.half_width is not None
        number = f"{100 * np.mean(values):.1f}% ± {100 * whole.half_width:.1f}"
        assert text.startswith(
            f"alpha: accuracy after recovery {number} (mean, 95% interval over other seeds)"
        )
        assert "resnet on digits, 90% of the MACs removed, protected scope; better than random" in text
        assert f"boards, benchsuite 0.1.0, torch 2.6, {len(records)} trials; page made 20" in text
        # A file's address tells of the machine.
        assert "file:" not in text
        page.get_by_label("Data set").select_option("all")
        assert "mean over all workloads" in (page.locator("#cite").text_content() or "")
        assert complaints == []


def test_two_criteria_are_compared_cell_by_cell(
    browser: Browser, boards: tuple[Path, list[TrialRecord]]
) -> None:
    folder, records = boards
    accuracy = {
        tuple(r.axes[name] for name in ("scorer", "model", "sparsity", "seed")): r.metrics["accuracy/top1"]
        for r in records
        if r.axes["scope"] == "protected"
    }
    with opened(browser, viewport={"width": 420, "height": 800}) as (page, complaints):
        page.goto((folder / "pair.html").as_uri() + "?first=beta&second=gamma")
        for first, second in (("beta", "gamma"), ("gamma", "alpha")):
            page.get_by_label("First").select_option(first)
            page.get_by_label("Second").select_option(second)
            for _ in range(2):
                differences = {
                    key: value - accuracy[second, *key[1:]]
                    for key, value in accuracy.items()
                    if key[0] == first
                }
                more = sum(value > 0 for value in differences.values())
                said = page.locator("#pair").inner_text()
                assert f"{more} of {len(differences)} cells" in said
                strata = [
                    [
                        float(np.mean([v for k, v in differences.items() if (k[1], k[3]) == (model, seed)]))
                        for seed in sorted({k[3] for k in differences})
                    ]
                    for model in sorted({k[1] for k in differences})
                ]
                whole = mean_interval(strata)
                assert whole is not None
                assert whole.low is not None
                assert whole.high is not None
                found = re.search(r"Mean difference: (\S+) .*interval (\S+) to ([^)]+)\)", said)
                assert found is not None
                numbers = [float(text.replace("−", "-")) for text in found.groups()]
                assert numbers == pytest.approx(
                    [100 * whole.mean, 100 * whole.low, 100 * whole.high], abs=0.07
                )
                better = first if whole.low > 0 else second if whole.high < 0 else None
                assert (f"{better} is better" if better else "cannot be told apart") in said
                rows = page.locator("#cells-of-two tbody tr").all_inner_texts()
                assert len(rows) == 4
                mean = np.mean([v for k, v in differences.items() if k[1:3] == ("mlp", 0.5)])
                assert rows[0].startswith("mlp on digits")
                assert f"{100 * mean:+.1f}".replace("-", "−") in rows[0]
                page.reload()
        page.locator("select[name=board]").select_option(label="global scope")
        assert page.locator("#cells-of-two tbody tr").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert complaints == []


def test_charts_are_saved_with_their_colours(
    browser: Browser, site: tuple[Path, list[TrialRecord]], tmp_path: Path
) -> None:
    folder, _ = site
    (workload, *_) = sorted((folder / "workloads").glob("*.html"))
    for scheme, paper in (("light", "#fdfdfb"), ("dark", "#16181a")):
        with opened(browser, color_scheme=scheme, accept_downloads=True) as (page, complaints):
            page.goto(workload.as_uri())
            for kind in ("SVG", "PNG"):
                with page.expect_download() as download:
                    page.get_by_role("button", name=kind).first.click()
                found = tmp_path / f"{scheme}.{kind}"
                download.value.save_as(found)
                assert download.value.suggested_filename.endswith(kind.lower())
                if kind == "SVG":
                    root = ET.fromstring(found.read_text("utf-8"))
                    assert root[0].attrib["fill"] == paper
                    assert "var(" not in found.read_text("utf-8")
                    assert float(root.attrib["width"]) > 300
                else:
                    assert found.read_bytes().startswith(b"\x89PNG")
                    assert found.stat().st_size > 5_000
            assert [each for each in complaints if not each.startswith(("blob:", "data:"))] == []


TEXTS_OF_CHARTS = """() => [...document.querySelectorAll("svg[role=img]")]
  .filter(chart => chart.getBoundingClientRect().width)
  .map(chart => {
    const frame = chart.getBoundingClientRect();
    const boxes = [...chart.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    const cut = boxes.filter(([, box]) =>
      box.left < frame.left - 1 || box.right > frame.right + 1 ||
      box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
    const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1 ||
      a.bottom <= b.top + 3 || b.bottom <= a.top + 3;
    const over = boxes.flatMap(([name, a], i) =>
      boxes.slice(0, i).filter(([, b]) => !apart(a, b)).map(([other]) => `${name} on ${other}`));
    return [boxes.length, cut.map(([name]) => name), over];
  })"""


@pytest.mark.parametrize("width", [420, 1280])
def test_no_text_of_a_chart_is_cut_or_lies_on_another(browser: Browser, tmp_path: Path, width: int) -> None:
    """The texts of axes and the names of lines are drawn without being measured."""
    sparsities = [0.1, 0.5, 0.9, 0.9375, 0.95, 0.99]
    workloads = [("d", f"m{i}") for i in range(5)]
    names = ["random", *(f"a-long-name-of-a-criterion-{i}" for i in range(9))]
    records = make_matrix(scorers=names, workloads=workloads, seeds=[0, 1], sparsities=sparsities)
    render(records, tmp_path, title="charts")
    pages = [tmp_path / "index.html", *sorted((tmp_path / "workloads").glob("*.html"))[:1]]
    pages += sorted((tmp_path / "criteria").glob("*.html"))[:1]
    number = 0
    with opened(browser, viewport={"width": width, "height": 900}) as (page, _):
        for path in pages:
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            for texts, cut, over in page.evaluate(TEXTS_OF_CHARTS):
                assert (cut, over) == ([], []), path
                number += texts
    assert number > 50


def test_a_phone_shows_accuracies_without_scrolling(
    browser: Browser, site: tuple[Path, list[TrialRecord]]
) -> None:
    folder, _ = site
    (workload, *_) = sorted((folder / "workloads").glob("*.html"))
    with opened(browser, viewport={"width": 420, "height": 800}) as (page, _):
        for path in (folder / "index.html", workload):
            page.goto(path.as_uri())
            for table in (".verdict .num", ".sortable td:is(.num, [data-v]):not(.place)"):
                box = page.locator(f".of-after {table}").first.bounding_box()
                assert box is not None
                assert box["x"] + box["width"] <= 420, (path, table)
        page.goto((folder / "cells.html").as_uri())
        page.locator("input[name=q]").fill("alpha")
        for width in (420, 360):
            page.set_viewport_size({"width": width, "height": 800})
            for cell in page.locator("#cells tbody tr:visible td:nth-child(5)").all():
                box = cell.bounding_box()
                assert box is not None
                assert box["x"] + box["width"] <= width


LINE_ENDS = """() => {
  const range = document.createRange();
  const top = (node, at) => {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getBoundingClientRect().top;
  };
  const texts = [...document.querySelectorAll("table bdi")]
    .filter((each) => each.getClientRects().length)
    .flatMap((each) => [...each.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE));
  return texts.flatMap((node) =>
    [...node.data].slice(0, -1).filter((_, i) => top(node, i + 1) > top(node, i) + 5)).join("");
}"""
"""The letters at which names in tables go on in another line."""

COVERED = """() => {
  const each = document.activeElement, box = each.getBoundingClientRect();
  const bar = document.querySelector(".choice.metric"), over = bar.getBoundingClientRect();
  if (each === document.body || bar.contains(each) || !box.width) return "";
  return box.top < over.bottom - 1 && box.bottom > over.top ? each.outerHTML : "";
}"""
"""What has the focus, if the bar lies over it."""

SIDES = """() => [...document.querySelectorAll(".scroll")]
  .map((each) => each.getBoundingClientRect())
  .filter((each) => each.width)
  .map((each) => [each.left, each.right])"""


def test_names_break_on_a_phone_where_words_end(browser: Browser, tmp_path: Path) -> None:
    names = ["magnitude-l1", "magnitude-l2", "activation-zeros"]
    records = make_matrix(scorers=[*names, "random", "reversed(magnitude-l1)"])
    render(records, tmp_path, title="phone")
    with opened(browser, viewport={"width": 390, "height": 800}) as (page, complaints):
        page.goto((tmp_path / "index.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        ends = page.evaluate(LINE_ENDS)
        assert set(ends) <= {"-", "("}
        assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page_name", ["index.html", "workloads/*.html", "comparison.html"])
def test_what_has_the_focus_is_not_under_the_bar(
    browser: Browser, site: tuple[Path, list[TrialRecord]], page_name: str, width: int
) -> None:
    folder, _ = site
    (path, *_) = sorted(folder.glob(page_name))
    with opened(browser, viewport={"width": width, "height": 500}) as (page, _):
        page.goto(path.as_uri())
        page.locator("main a").last.focus()
        found = set()
        for _ in range(60):
            page.keyboard.press("Shift+Tab")
            found.add(page.evaluate(COVERED))
        assert found == {""}
        # The bar covers whatever passes behind it, also at the side of a wide table.
        wide = page.evaluate(SIDES)
        bar = page.locator(".choice.metric").bounding_box()
        assert bar is not None
        assert bar["x"] <= min(left for left, _ in wide) + 1
        assert bar["x"] + bar["width"] >= max(right for _, right in wide) - 1


@pytest.mark.parametrize("column", ["__proto__", "constructor", "99", "-1", "1e0", ""])
def test_an_address_that_sorts_by_no_column_is_harmless(
    browser: Browser, site: tuple[Path, list[TrialRecord]], column: str
) -> None:
    folder, _ = site
    with opened(browser) as (page, complaints):
        page.goto((folder / "index.html").as_uri() + f"?sort-after-all={column}-ascending")
        assert page.locator("#answer .winner").is_visible()
        assert complaints == []


@pytest.mark.parametrize("width", [1280, 420])
def test_heads_of_a_large_matrix_do_not_overlap(browser: Browser, tmp_path: Path, width: int) -> None:
    names = [f"criterion-with-a-name-{i}(steps=5)" for i in range(31)]
    render(make_matrix(scorers=[*names, "random"], seeds=[0, 1], sparsities=[0.5]), tmp_path, title="many")
    with opened(browser, viewport={"width": width, "height": 800}) as (page, _):
        page.goto((tmp_path / "comparison.html").as_uri())
        for table in page.locator(".of-after table.heat").all():
            boxes = [head.bounding_box() for head in table.locator("th.turn bdi").all()]
            assert len(boxes) in (2, 31)
            for left, right in pairwise(boxes):
                assert left is not None
                assert right is not None
                assert left["x"] + left["width"] <= right["x"] + 0.5


def test_every_page_says_that_newer_results_may_exist(browser: Browser, tmp_path: Path) -> None:
    records = make_matrix(seeds=[0])
    render(records, tmp_path, title="stale")
    mark_stale(tmp_path, "A run </script><b>began</b> later.")
    with opened(browser) as (page, complaints):
        for path in sorted(tmp_path.rglob("*.html")):
            page.goto(path.as_uri())
            assert "A run </script><b>began</b> later." in page.get_by_role("alert").all_inner_texts(), path
        render(records, tmp_path, title="stale")
        page.goto((tmp_path / "index.html").as_uri())
        assert page.get_by_role("alert").count() == 0
        assert complaints == []


def test_the_switch_leads_to_the_other_board(
    browser: Browser, boards: tuple[Path, list[TrialRecord]]
) -> None:
    folder, _ = boards
    with opened(browser, java_script_enabled=False) as (page, _):
        page.goto((folder / "index.html").as_uri())
        for kind in ("overview", "workload"):
            switch = page.get_by_role("navigation", name="Boards")
            assert switch.locator("[aria-current]").all_inner_texts() == ["protected"]
            switch.get_by_role("link", name="global").click()
            assert switch.locator("[aria-current]").all_inner_texts() == ["global"]
            assert "global scope" in page.locator("h2").first.inner_text()
            assert page.locator("article.board").count() == 1
            switch.get_by_role("link", name="protected").click()
            if kind == "overview":
                page.get_by_role("link", name="mlp on digits").first.click()
        assert "mlp" in page.locator("h1").inner_text()


def test_keyboard_alone_sorts_the_first_table(browser: Browser, site: tuple[Path, list[TrialRecord]]) -> None:
    folder, _ = site
    with opened(browser) as (page, _):
        page.goto((folder / "index.html").as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Criterion":
                break
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


def test_without_scripts_everything_is_there(browser: Browser, site: tuple[Path, list[TrialRecord]]) -> None:
    folder, _ = site
    with opened(browser, java_script_enabled=False) as (page, _):
        page.goto((folder / "cells.html").as_uri())
        assert len(column(page, "#cells", 1)) > 20
        # Nothing is offered that does nothing.
        assert not page.locator("form.filters").is_visible()
        assert "need scripts" in page.locator("main").inner_text()
        page.goto((folder / "index.html").as_uri())
        assert not page.locator("#picker").is_visible()
        assert page.locator(".verdict table").first.is_visible()
        page.get_by_role("radio", name="before recovery").check()
        assert page.locator(".of-before").first.is_visible()


def open_trial(page: Page, folder: Path, address: str) -> None:
    """Open a trial's page, and wait until it shows that trial or says why not: it reads trials by itself."""
    page.goto("about:blank")
    page.goto((folder / "trial.html").as_uri() + (f"#{address}" if address else ""))
    page.wait_for_selector("#trial > *")


def shown_metrics(page: Page) -> dict[str, tuple[str, str]]:
    cells = page.eval_on_selector_all(
        "td[data-metric]", "cells => cells.map(c => [c.dataset.metric, c.dataset.v, c.innerText])"
    )
    return {name: (value, text) for name, value, text in cells}


def test_the_list_of_a_criterion_s_trials_is_that_of_the_records(
    browser: Browser, site: tuple[Path, list[TrialRecord]]
) -> None:
    folder, records = site
    mine = [r for r in records if r.axes["scorer"] == "beta" and r.axes["model"] == "mlp"]
    mine.sort(key=lambda r: (r.axes["sparsity"], r.axes["seed"]))
    with opened(browser) as (page, complaints):
        page.goto((folder / "criteria" / f"{slug('beta')}.html").as_uri())
        lists = page.locator("details.trials-of")
        assert lists.locator("table").count() == 0
        lists.first.locator("summary").click()
        page.wait_for_selector(".trials tbody tr")
        rows = page.eval_on_selector_all(
            ".trials tbody tr", "rows => rows.map(r => [...r.cells].map(c => c.innerText))"
        )
        assert [row[:4] for row in rows] == [
            [f"{100 * r.axes['sparsity']:g}%", str(r.axes["seed"]), "0", r.status] for r in mine
        ]
        for row, each in zip(rows, mine, strict=True):
            value = each.metrics.get("accuracy/top1")
            assert row[4] == ("–" if value is None else f"{100 * value:.2f}")
        assert rows[0][7:11] == ["40.0", "75.0", "50.0", "1.50"]
        page.get_by_role("button", name="Accuracy", exact=True).click()
        numbers = [float(text) for text in column(page, ".trials", 5) if text != "–"]
        assert numbers == sorted(numbers, reverse=True)
        page.locator(".trials tbody a").first.click()
        page.wait_for_selector("#again")
        assert complaints == []


def test_a_trial_shows_its_whole_record(browser: Browser, kept: tuple[Path, list[TrialRecord]]) -> None:
    folder, records = kept
    with opened(browser) as (page, complaints):
        for record in (records[0], records[5], records[-1]):
            open_trial(page, folder, record.key)
            page.wait_for_selector("#again")
            metrics = shown_metrics(page)
            assert {name: float(value) for name, (value, _) in metrics.items()} == {
                name.replace("\u202e", "\ufffd"): float(f"{value:.6g}")
                for name, value in record.metrics.items()
            }
            assert metrics["accuracy/top1"][1] == f"{100 * record.metrics['accuracy/top1']:.2f}%"
            text = page.locator("body").text_content() or ""
            axes = [str(value) for value in record.axes.values() if value not in ({}, 2.0)]
            environment = [str(value) for value in record.provenance.values()]
            assert [each for each in (record.key, *axes, *environment, "aggregate") if each not in text] == []
        open_trial(page, folder, records[0].key)
        words = " ".join(page.locator("table.metrics tr").all_inner_texts())
        assert "batch of 1: speedup" in words
        assert "batch of 1, 4 threads: speedup, lower end of its 95% interval" in words
        assert shown_metrics(page)["latency/batch1_speedup_wide"][1].startswith("not settled")
        reported = page.locator("table.report")
        assert reported.locator("th, td").all_inner_texts() == ["layer", "fit", "<b>x</b>", "0.1235", "c", ""]
        assert reported.locator("th.num, td.num").all_inner_texts() == ["fit", "0.1235", ""]
        layers = page.locator("table.layers tbody tr").all_inner_texts()
        assert "4 of 16" in layers[0]
        assert "25.00%" in layers[0]
        assert "36 of 144" in layers[0]
        assert len(layers) == 2
        assert page.locator("#trial img").evaluate("i => i.decode().then(() => i.naturalWidth)") == 1
        assert page.locator("script:not([src])").count() == 0
        assert complaints == []


def test_what_is_cut_at_initialization_is_trained_and_does_not_recover(
    browser: Browser, tmp_path: Path
) -> None:
    records = [make_record("magnitude-l1", 0.5, 0.5, schedule=each) for each in ("at-init", "one-shot")]
    render(records, tmp_path, title="both")
    with opened(browser) as (page, complaints):
        for record, right, wrong in zip(
            records, ("training", "recovery"), ("recovery", "training"), strict=True
        ):
            open_trial(page, tmp_path, trial_id(record.key))
            page.reload()
            page.wait_for_selector("#again")
            figures = page.locator("ul.figures").inner_text()
            assert f"top-1 after {right}" in figures
            metrics = " ".join(page.locator("table.metrics tr").all_inner_texts())
            assert f"after {right}" in metrics
            assert f"after {wrong}" not in metrics + figures
        assert complaints == []


def test_a_trial_without_a_run_directory_says_so(
    browser: Browser, site: tuple[Path, list[TrialRecord]]
) -> None:
    folder, records = site
    with opened(browser) as (page, complaints):
        open_trial(page, folder, trial_id(records[0].key))
        assert "came without its run directory" in page.locator("#trial").inner_text()
        assert complaints == []


def test_failures_lead_to_their_trial_and_its_reason(
    browser: Browser, site: tuple[Path, list[TrialRecord]]
) -> None:
    folder, records = site
    with opened(browser) as (page, complaints):
        page.goto((folder / "index.html").as_uri())
        page.locator("table.troubles a[href^='trial.html']").first.click()
        page.wait_for_selector("#again")
        assert page.locator(".status.failed").inner_text() == "failed"
        assert page.locator("pre.error").inner_text() == HOSTILE.replace("\u202e", "\ufffd")
        assert page.locator("#export").count() == 0
        open_trial(page, folder, trial_id(records[-2].key))
        page.wait_for_selector("#again")
        assert page.locator("h1").inner_text() == HOSTILE.replace("\u202e", "\ufffd")
        assert complaints == []


@pytest.mark.parametrize("hash_", ["", "#abc", "#" + "f" * 20, "#<img src=x onerror=alert(1)>", "#__proto__"])
def test_an_unknown_trial_is_said(browser: Browser, site: tuple[Path, list[TrialRecord]], hash_: str) -> None:
    folder, _ = site
    with opened(browser) as (page, complaints):
        open_trial(page, folder, hash_.removeprefix("#"))
        assert page.get_by_role("alert").is_visible()
        shown = page.evaluate("location.hash.slice(1, 41)")
        wanted = f"Unknown trial: {shown}" if hash_ else "No trial chosen"
        assert page.locator("h1").inner_text() == wanted
        assert page.locator("#trial img").count() == 0
        assert complaints == []


def test_links_of_a_trial_lead_somewhere(browser: Browser, site: tuple[Path, list[TrialRecord]]) -> None:
    folder, records = site
    with opened(browser) as (page, complaints):
        for record in (records[0], records[-2], records[-1]):
            open_trial(page, folder, trial_id(record.key))
            page.wait_for_selector("#again")
            addresses = page.eval_on_selector_all("a[href]", "links => links.map(a => a.href)")
            assert len(addresses) > 8
            for address in set(addresses) - {page.url}:
                page.goto(address)
                if "#" in address:
                    anchor = address.partition("#")[2]
                    assert page.evaluate("id => document.getElementById(id) !== null", anchor), address
        assert complaints == []


def test_the_skip_link_leaves_the_trial_where_it_is(
    browser: Browser, site: tuple[Path, list[TrialRecord]]
) -> None:
    folder, records = site
    with opened(browser) as (page, complaints):
        open_trial(page, folder, trial_id(records[0].key))
        page.wait_for_selector("#again")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        assert page.locator("#again").is_visible()
        assert complaints == []


def test_the_command_selects_the_trial_alone(
    browser: Browser, site: tuple[Path, list[TrialRecord]], tmp_path: Path
) -> None:
    folder, records = site
    odd = [
        make_record(name, 0.5, 0.5)
        for name in (
            "a,b",
            "f(x=1,y=[2])",
            "it's",
            "un(balanced",
            ")(",
            "p=q",
            "p*",
            "[pq]?",
            "two  words ",
            "-x",
            HOSTILE,
        )
    ]
    render(odd, tmp_path, title="odd")
    with opened(browser) as (page, complaints):
        for where, suite in ((folder, records), (tmp_path, odd)):
            # The command's filters use only axes, which both records and trials have.
            trials: Any = suite
            for record in suite[:: 1 if suite is odd else 9]:
                open_trial(page, where, trial_id(record.key))
                words = shlex.split(page.locator("#again").inner_text().replace("\\\n", " "))
                assert words[:5] == ["benchsuite", "run", "RUN/suite.toml", "--output", "again"]
                assert set(words[5::2]) == {"--filter"}
                assert [each.axes for each in select(trials, words[6::2])] == [record.axes]
        open_trial(page, folder, trial_id(records[0].key))
        assert shlex.split(page.locator("#export").inner_text()) == [
            *("benchsuite", "export", "RUN", records[0].key)
        ]
        assert complaints == []


@pytest.mark.parametrize(
    "record",
    [
        TrialRecord("bare", {}, "done"),
        TrialRecord("bare", {"seed": None, "scorer": ["a", {"b": 1}], "sparsity": True}, "failed"),
        TrialRecord("bare", {"scorer": "a"}, "done", {"x": 10**30, "y": 1e-300, "accuracy/top1": -2}),
        TrialRecord(
            "bare", {"scorer": "a"}, "killed", {}, {"x": None}, {"y": [[]]}, {"trial": HOSTILE}, "\0"
        ),
    ],
)
def test_odd_records_have_their_page(browser: Browser, record: TrialRecord, tmp_path: Path) -> None:
    render([record], tmp_path, title="odd")
    with opened(browser, viewport={"width": 390, "height": 800}) as (page, complaints):
        open_trial(page, tmp_path, trial_id(record.key))
        page.wait_for_selector("#again")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert {name: float(value) for name, (value, _) in shown_metrics(page).items()} == pytest.approx(
            record.metrics
        )
        assert complaints == []


def test_a_site_without_records_knows_no_trial(browser: Browser, tmp_path: Path) -> None:
    render([], tmp_path, title="empty")
    with opened(browser) as (page, complaints):
        open_trial(page, tmp_path, "0" * 20)
        assert page.locator("h1").inner_text() == f"Unknown trial: {'0' * 20}"
        assert complaints == []


def test_without_scripts_a_trial_points_elsewhere(
    browser: Browser, site: tuple[Path, list[TrialRecord]]
) -> None:
    folder, _ = site
    with opened(browser, java_script_enabled=False) as (page, _):
        page.goto((folder / "trial.html").as_uri())
        assert page.get_by_role("link", name="downloads").is_visible()


def test_ten_thousand_cells_answer_at_once(browser: Browser, matrix: MakeMany, tmp_path: Path) -> None:
    scorers = [f"criterion-{i}" for i in range(100)]
    workloads = [("d", f"model-{i}") for i in range(25)]
    records = matrix(scorers=scorers, workloads=workloads, seeds=[0], sparsities=[0.2, 0.4, 0.6, 0.8])
    from benchsuite_leaderboard.pages.tables import cells_page
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import make_report

    report = make_report(records, title="many", pending=0, notes=[])
    assets = tmp_path / "assets"
    assets.mkdir()
    from benchsuite_leaderboard.pages.environment import ASSETS

    for asset in ASSETS.iterdir():
        shutil.copy(asset, assets)
    (assets / "state.js").write_bytes(FRESH)
    (tmp_path / "cells.html").write_text(cells_page(report, Views()), "utf-8")
    with opened(browser) as (page, complaints):
        page.goto((tmp_path / "cells.html").as_uri())
        assert page.locator("output").inner_text() == "10,000 of 10,000 cells, the first 200 shown"
        timed = """async act => {
            const start = performance.now();
            eval(act);
            await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
            return performance.now() - start;
        }"""
        sorting = page.evaluate(timed, "document.querySelectorAll('#cells thead button')[4].click()")
        filtering = page.evaluate(
            timed,
            "const q = document.querySelector('[name=q]'); q.value = 'criterion-7';"
            "q.dispatchEvent(new Event('input', { bubbles: true }))",
        )
        assert page.locator("output").inner_text() == "1,100 of 10,000 cells, the first 200 shown"
        # Long enough for a busy machine; an idle one needs a small part of this.
        assert filtering < 500, f"{filtering:.0f} ms"
        assert sorting < 500, f"{sorting:.0f} ms"
        page.get_by_role("button", name="Show all").click()
        assert page.locator("#cells tbody tr").count() == 1100
        assert complaints == []
