"""Which suites a site's records are of, and how a criterion is run again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from benchsuite.commands.loading import select
from benchsuite.publishing.results_file import Header, write_published
from benchsuite_leaderboard.board import Criterion
from benchsuite_leaderboard.pages.again import run_again
from benchsuite_leaderboard.site import render
from benchsuite_leaderboard.suites import Suite, suites_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]

TEXT = "[suite]\nname = 'tiny'\n"


def results_file(path: Path, records: list[TrialRecord], name: str = "tiny", suite: str = TEXT) -> Path:
    write_published(path, Header(name=name, suite=suite, cells=1, versions={}), records)
    return path


def run_directory(path: Path, suite: str) -> Path:
    path.mkdir(parents=True)
    (path / "suite.toml").write_text(suite, "utf-8")
    return path


def test_run_directories_and_results_files_name_their_suites(record: Make, tmp_path: Path) -> None:
    run = run_directory(tmp_path / "secret" / "quick-run", "[suite]\nname = 'quick'\n")
    file = results_file(tmp_path / "a.jsonl.gz", [record("a", 0.5, 0.9)])
    one, other = suites_of([run, file, run])
    assert one == Suite("quick", "quick-run/suite.toml")
    assert (other.name, other.text) == ("tiny", TEXT)
    # Suites of one name that differ have different files, and a name is no path.
    again = results_file(tmp_path / "b.jsonl", [record("a", 0.5, 0.9)], suite=TEXT + "seeds = [1]\n")
    odd = results_file(tmp_path / "c.jsonl", [record("a", 0.5, 0.9)], name="../../x/分類")
    files = [suite.file for suite in suites_of([file, again, odd])]
    assert len(set(files)) == 3
    assert all("/" not in each and each.endswith(".toml") for each in files)


@pytest.mark.parametrize("text", ["", "suite = 3", "[suite]\nname = 7", "[suite", "\0", "x = 1"])
def test_what_names_no_suite_is_left_out(record: Make, tmp_path: Path, text: str) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text(record("a", 0.5, 0.9).to_json() + "\n", "utf-8")
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(b"\x1f\x8bno gzip")
    sources = [run_directory(tmp_path / "run", text), bare, broken, tmp_path / "absent"]
    assert suites_of(sources) == ()


def test_a_site_offers_the_suite_of_a_results_file_and_names_it(record: Make, tmp_path: Path) -> None:
    records = [record("a", 0.5, 0.9 + seed / 100, seed=seed) for seed in range(3)]
    file = results_file(tmp_path / "results.jsonl", records)
    site = tmp_path / "site"
    render(records, site, title="t", sources=[file])
    (offered,) = (site / "suites").iterdir()
    assert offered.read_text() == TEXT
    assert (
        f"benchsuite run {offered.name} --output again"
        in next((site / "criteria").glob("*.html")).read_text()
    )
    assert (
        "“suite tiny, benchsuite 0.1.0, torch 2.6, 3 trials; page made" in (site / "method.html").read_text()
    )
    # Without the file its suite goes, and another suite is another site.
    render(records, site, title="t")
    assert not list((site / "suites").glob("*"))
    assert "SUITE.toml" in next((site / "criteria").glob("*.html")).read_text()


@pytest.mark.parametrize(
    "name",
    ["chip", "a,b", "f(x=1,y=[2])", "it's", "un(balanced", "p*", "[pq]?", "two  words ", "-x", "random"],
)
def test_the_command_selects_a_criterion_and_random(record: Make, name: str) -> None:
    records: Any = [record(each, 0.5, 0.9) for each in ("other", name, "random", "another,one")]
    suites = [Suite("quick", "a run/suite.toml")]
    words = shlex.split(run_again(Criterion(name, name), suites))
    assert words[:5] == ["benchsuite", "run", "a run/suite.toml", "--output", "again"]
    assert set(words[5::2]) == {"--filter"}
    assert {each.axes["scorer"] for each in select(records, words[6::2])} == {name, "random"}
    assert shlex.split(run_again(Criterion(name, name), suites * 2))[2] == "SUITE.toml"
