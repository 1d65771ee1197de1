"""The site as a reader sees it: opened from a file in Chromium, without a network."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from made_up_records import HOSTILE, make_matrix, make_record

from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from benchsuite.store import TrialRecord

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
    """A page without a network, and the complaints it will make."""
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


def column(page: Page, table: str, number: int) -> list[str]:
    cells = page.locator(f"{table} tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_opens_without_complaint(
    browser: Browser, site: tuple[Path, list[TrialRecord]], scheme: str, width: int
) -> None:
    folder, _ = site
    with opened(browser, color_scheme=scheme, viewport={"width": width, "height": 800}) as (page, complaints):
        for path in sorted(folder.rglob("*.html")):
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.locator("h1").count() == 1, path
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
        page.goto((folder / "index.html").as_uri())
        page.get_by_role("radio", name="before recovery").check()
        assert page.locator(".of-before").first.is_visible()


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
        # Generous for a busy machine: alone it takes a small part of this.
        assert filtering < 500, f"{filtering:.0f} ms"
        assert sorting < 500, f"{sorting:.0f} ms"
        page.get_by_role("button", name="Show all").click()
        assert page.locator("#cells tbody tr").count() == 1100
        assert complaints == []
