"""Every kind of page under axe-core, which finds what keeps people with disabilities from using it."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from made_up_records import make_matrix, make_record
from test_browser import browser
from test_rankings import KEY, made_run

from benchsuite.trials.agreement import NetworkAgreement
from benchsuite_leaderboard.pages.addresses import trial_id
from benchsuite_leaderboard.pages.environment import ASSETS
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

__all__ = ["browser"]

pytestmark = pytest.mark.slow

KINDS = (
    *("index.html", "boards/index-*.html", "workloads/*.html", "criteria/*.html", "cells.html", "pair.html"),
    *(
        "comparison.html",
        "agreement.html",
        "rankings.html",
        "rankings/*.html",
        "method.html",
        "trial.html",
        "trial.html#",
    ),
)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm, which fetches axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not fetch axe-core within two minutes")
    script = folder / "node_modules/axe-core/axe.min.js"
    if not script.is_file():
        pytest.skip(f"npm cannot fetch axe-core: {done.stderr[-300:]}")
    return script.read_text("utf-8")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A site with all kinds of pages, marks and notices, and the address of one of its trials."""
    records = make_matrix(scorers=[*(f"c{i}" for i in range(9)), "random", "reversed(c1)"], seeds=[0, 1])
    records += [make_record("c1", 0.5, 0.9 - s / 100, scope="global", seed=s) for s in range(2)]
    records += [make_record("partial", s, 0.8, seed=seed) for s in (0.5, 0.9) for seed in range(2)]
    records += [make_record("c2", 0.99, None, error="it broke\nin the second line")]
    for record in records:
        record.metrics["scoring/stability"] = 0.2
        record.metrics["cost/uncounted_modules"] = 1.0
        record.metrics["latency/batch1_speedup_wide"] = 1.0
        record.provenance["uncounted_modules"] = ["stem"]
    names = ("c0", "c1", "c2")
    matrix = ((1.0, 0.5, -0.2), (0.5, 1.0, 0.1), (-0.2, 0.1, 1.0))
    agreement = [NetworkAgreement("digits", "mlp", 0, names, matrix, matrix, matrix)]
    folder, run = tmp_path_factory.mktemp("everything"), tmp_path_factory.mktemp("run")
    records[0].stages["train"] = KEY
    made_run(run)
    render(
        records, folder, title="everything", pending=2, notes=["a note"], agreement=agreement, sources=[run]
    )
    return folder, trial_id(records[0].key)


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(browser: Browser, everything: tuple[Path, str], axe: str, kind: str) -> None:
    folder, trial = everything
    name, hash_, _ = kind.partition("#")
    (path, *_) = sorted(folder.glob(name))
    for scheme in ("light", "dark"):
        for width in (1280, 420):
            context = browser.new_context(
                offline=True, color_scheme=scheme, viewport={"width": width, "height": 800}
            )  # type: ignore[arg-type] # a literal
            page = context.new_page()
            page.goto(path.as_uri() + (f"#{trial}" if hash_ else ""))
            if hash_:
                page.wait_for_selector("#again")
            page.evaluate(axe)
            # Style sheets are read by the browser; axe itself may not read them from a file.
            found: Any = page.evaluate("axe.run(document, { preload: false })")
            assert len(found["passes"]) > 10
            said = [
                (each["id"], node["html"][:200], node["failureSummary"][:300])
                for each in found["violations"]
                for node in each["nodes"]
            ]
            assert said == [], (scheme, width)
            context.close()


@pytest.mark.parametrize("kind", ["index.html", "trial.html#"])
def test_paper_has_the_same_colours_in_either_scheme(
    browser: Browser, everything: tuple[Path, str], kind: str
) -> None:
    """Not the pale ones that are made for a dark screen."""
    folder, trial = everything
    name, hash_, _ = kind.partition("#")
    names = re.findall(r"(--[\w-]+): #", (ASSETS / "style.css").read_text("utf-8"))
    assert len(set(names)) > 15
    seen = []
    for scheme in ("light", "dark"):
        context = browser.new_context(offline=True, color_scheme=scheme)  # type: ignore[arg-type] # a literal
        page = context.new_page()
        page.goto((folder / name).as_uri() + (f"#{trial}" if hash_ else ""))
        page.emulate_media(media="print")
        of = "names => names.map(each => getComputedStyle(document.documentElement).getPropertyValue(each))"
        seen.append(
            (
                page.evaluate(of, names),
                page.evaluate("getComputedStyle(document.documentElement).colorScheme"),
            )
        )
        context.close()
    assert seen[0] == seen[1]
    assert seen[0][1] == "light"


@pytest.mark.parametrize("kind", ["index.html", "workloads/*.html", "criteria/*.html"])
def test_printed_pages_have_their_tables(browser: Browser, everything: tuple[Path, str], kind: str) -> None:
    folder, _ = everything
    (path, *_) = sorted(folder.glob(kind))
    context = browser.new_context(offline=True, color_scheme="dark", viewport={"width": 800, "height": 1000})
    page = context.new_page()
    page.goto(path.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not page.locator("nav.site").is_visible()
    assert page.locator("table:visible").count() >= 1
    context.close()
