"""The page of a dense network as a reader uses it, opened from a file in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_browser import browser, opened
from test_rankings import KEY, made_run, records_of

from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

__all__ = ["browser"]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("width", [1280, 390])
def test_a_reader_chooses_a_layer_and_a_criterion(browser: Browser, tmp_path: Path, width: int) -> None:
    scores = made_run(tmp_path / "run")
    render(records_of(KEY), tmp_path / "site", title="demo", sources=[tmp_path / "run"])
    address = (tmp_path / "site" / "rankings" / f"{KEY}.html").as_uri()
    with opened(browser, viewport={"width": width, "height": 800}) as (page, complaints):
        page.goto(address)
        page.wait_for_selector(".score-bars")
        first, second = scores
        units = np.argsort(scores[first]["alpha"])[::-1]
        shown = page.locator(".ends > div:first-child figcaption b").all_inner_texts()
        assert shown == [str(unit) for unit in units[:5]]
        assert page.locator(".ends .unit-map").count() == len({0, 3, 7} & {*units[:5], *units[-5:]})
        page.select_option("select[name=layer]", "1")
        page.select_option("select[name=criterion]", "1")
        page.select_option("select[name=order]", "score")
        page.wait_for_function("location.search.includes('criterion=1')")
        values = scores[second]["beta"]
        titles = page.locator(".score-bars title").all_text_contents()
        assert [int(each.split(":")[0].removeprefix("unit ")) for each in titles] == np.argsort(values)[
            ::-1
        ].tolist()
        page.goto(page.url)
        page.wait_for_selector(".score-bars")
        assert page.input_value("select[name=criterion]") == "1", "the address keeps the choice"
        assert page.locator(".tables table.heat").count() >= 2
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert complaints == []
