from __future__ import annotations

import bz2
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd  # type: ignore[import-untyped] # it has no types
import pytest
from shipped_trials import shipped_trials

from benchsuite.errors import UsageError
from benchsuite.publishing.signatures import Signature
from benchsuite_leaderboard import site
from benchsuite_leaderboard.downloads import downloads
from benchsuite_leaderboard.freshness import mark_stale
from benchsuite_leaderboard.pages.addresses import slug
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]
    MakeMany = Callable[..., list[TrialRecord]]


SCRIPT = re.compile(r"<script(?: src=[^>]*)?>(.*?)</script>", re.DOTALL)
DATA = re.compile(r'<script type="application/json" id="[a-z]+">(.*?)</script>', re.DOTALL)


class Page(HTMLParser):
    """Collects tags, addresses, ids and text of a page, and fails for tags that are not closed."""

    VOID = frozenset({"meta", "link", "input", "br", "hr", "img", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has an event handler"
            if name in {"href", "src"} and value is not None:
                self.addresses.append(value)
            if name == "id" and value is not None:
                self.ids.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(folder: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}


def test_the_site_asks_nothing_of_any_host_and_has_no_broken_link(matrix: MakeMany, tmp_path: Path) -> None:
    index = render(matrix(), tmp_path / "site", title="demo")
    assert index == tmp_path / "site" / "index.html"
    found = pages(tmp_path / "site")
    trials = shipped_trials(tmp_path / "site")
    for path, page in found.items():
        assert len(page.ids) == len(set(page.ids)), path
        for address in page.addresses:
            file, _, anchor = address.partition("#")
            file = file.partition("?")[0]
            assert not re.match(r"[a-z]+:|/", file), address
            target = (path.parent / file).resolve() if file else path.resolve()
            assert target.is_file(), f"{path}: {address}"
            if target.name == "trial.html" and target != path:
                assert anchor in trials, f"{path}: {address}"
            elif anchor:
                assert anchor in found[target].ids, f"{path}: {address}"
        text = path.read_text("utf-8")
        # Names of XML namespaces are not requests.
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), path


def test_hostile_text_is_shown_and_not_executed(record: Make, hostile: str, tmp_path: Path) -> None:
    records = [
        record(
            scorer,
            0.5,
            value,
            seed=seed,
            model=f"../../{hostile}",
            error=error,
            scorer_params={hostile: hostile},
            settings={hostile: hostile},
            **dict.fromkeys(
                ("dataset", "schedule", "budget", "granularity", "scope", "recovery_epochs"), hostile
            ),
        )
        for seed in range(2)
        for scorer, value, error in (
            (hostile, 0.9, None),
            (f"reversed({hostile})", 0.8, None),
            ("random", 0.5, None),
            ("x" * 3000, None, f"Traceback\n{hostile}\n{hostile * 50}"),
        )
    ]
    records[0].provenance[hostile] = hostile
    site = tmp_path / "a" / "site"
    index = render(records, site, title=hostile, notes=[hostile])
    for path, page in pages(site).items():
        written = path.read_text("utf-8")
        assert page.tags.count("script") == len(SCRIPT.findall(written)) + len(DATA.findall(written)), path
        assert "alert" not in "".join(SCRIPT.findall(written)), path
        assert all(isinstance(json.loads(data), dict) for data in DATA.findall(written)), path
        assert re.fullmatch(r"[a-z0-9.-]+", path.name)
    assert "<script>alert('x')</script>" in pages(site)[index].text
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"site"}


def test_who_signed_is_shown_beside_each_results_file(record: Make, hostile: str, tmp_path: Path) -> None:
    records = [record("a", 0.5, 0.9)]
    signatures = [
        Signature(Path("some/where/a.jsonl.gz"), "signed", f"signed by {hostile}"),
        Signature(Path("b&<b>.jsonl"), "unsigned", "not signed: there is no b.jsonl.sig"),
        Signature(Path("c.jsonl"), "bad", f"bad signature: \x1b[31m {hostile * 100}"),
    ]
    index = render(records, tmp_path / "with", title="demo", signatures=signatures)
    page = pages(tmp_path / "with")[index]
    shown = page.text[page.text.index("Results files") :]
    assert "a.jsonl.gz: signed by " + hostile.replace("\u202e", "\ufffd") in shown
    assert "some/where" not in shown
    assert "b&<b>.jsonl: not signed: there is no b.jsonl.sig" in shown
    assert "c.jsonl: bad signature: \ufffd[31m <script>" in shown
    written = index.read_text("utf-8")
    assert page.tags.count("script") == len(SCRIPT.findall(written)) + len(DATA.findall(written))
    # The same records with other signatures are another site.
    before = index.read_text()
    render(records, tmp_path / "with", title="demo", signatures=signatures[:1])
    assert index.read_text() != before
    plain = render(records, tmp_path / "plain", title="demo")
    assert "Results files" not in plain.read_text()


@pytest.mark.parametrize(
    "records",
    [
        "[]",
        "[make('a', 0.5, None, seed=s) for s in range(3)]",
        "[make('a', 0.5, 0.9)]",
        "[make('random', 0.5, 0.9), make('shuffled(a)', 0.5, 0.9)]",
        "[make('a', 'native', 0.9)]",
        "[make('a', 0.0, 0.97, recovery_epochs=0), make('b', 0.123456789, 0.97)]",
        "[make(f'c{i}', s, 0.9 - i / 100, seed=d) for i in range(40) for s in (0.5, 0.9) for d in range(2)]",
        "[make('a', 0.5, 0.9, granularity=g, model=f'm{m}') for g in ('unit', 'weight') for m in range(6)]",
    ],
    ids=["empty", "failed", "single", "controls", "native", "no-recovery", "many", "boards"],
)
def test_odd_collections_have_their_pages(record: Make, records: str, tmp_path: Path) -> None:
    made = eval(records, {"make": record})
    render(made, tmp_path, title="odd", pending=3, notes=["line 7 of results.jsonl could not be read"])
    page = pages(tmp_path)[tmp_path / "index.html"]
    assert "3 planned trials have no result yet" in page.text
    assert "line 7 of results.jsonl" in page.text


def test_costs_that_are_less_certain_than_they_look_are_marked(record: Make, tmp_path: Path) -> None:
    records = [record(scorer, 0.5, 0.9, seed=seed) for scorer in "ab" for seed in range(2)]
    render(records, tmp_path / "certain", title="t")
    cells = (tmp_path / "certain" / "cells.html").read_text("utf-8")
    assert "less certain than it looks" not in cells
    records[0].metrics.update({"latency/batch1_speedup_wide": 1.0, "latency/batch1_threads4_speedup": 3.0})
    records[0].metrics["cost/uncounted_modules"] = 1.0
    records[0].provenance["uncounted_modules"] = ["stem: <b>aten._fft_r2c"]
    render(records, tmp_path / "uncertain", title="t")
    cells = (tmp_path / "uncertain" / "cells.html").read_text("utf-8")
    text = Page(cells).text
    assert "* less certain than it looks" in text
    assert "Time left, 4 threads" in text
    assert cells.count('title="some operations have no formula') == 1
    assert cells.count('title="not settled') == 1
    page = (tmp_path / "uncertain" / "workloads" / f"{slug('digits', 'mlp')}.html").read_text("utf-8")
    text = Page(page).text
    assert (
        "MACs are a lower bound here: what may multiply and has no formula is stem: <b>aten._fft_r2c" in text
    )
    assert "In 1 cell the time left is not settled" in text
    assert "latency with 4 threads" in text


def test_boards_have_pages_of_their_own(record: Make, tmp_path: Path) -> None:
    records = [record("a", 0.5, value, scope=scope) for scope, value in (("layer", 0.9), ("global", 0.7))]
    render(records, tmp_path, title="two")
    found = pages(tmp_path)
    boards = [tmp_path / "index.html", *(tmp_path / "boards").glob("index-*.html")]
    assert len(boards) == 2
    for path, mine, other in zip(boards, ("70.0", "90.0"), ("90.0", "70.0"), strict=True):
        table = found[path].text.partition("All criteria")[2]
        assert mine in table
        assert other not in table
        assert "80.0" not in table
    assert len(list((tmp_path / "workloads").glob("*.html"))) == 2
    # What is no longer a board has no page.
    render(records[:1], tmp_path, title="two")
    assert not list((tmp_path / "boards").glob("*"))
    assert len(list((tmp_path / "workloads").glob("*.html"))) == 1


def test_outcomes_are_counted_with_their_reasons(matrix: MakeMany, record: Make, tmp_path: Path) -> None:
    records = matrix()
    records += [
        record("delta", 0.5, None, seed=s, status="unsupported", error="needs batch norm") for s in range(3)
    ]
    records += [
        record(
            "delta", 0.9, None, status="timeout", error="Traceback (most recent call last):\n  x\nToo slow"
        )
    ]
    render(records, tmp_path, title="troubled")
    text = " ".join(pages(tmp_path)[tmp_path / "index.html"].text.split())
    assert "3 unsupported" in text
    assert "1 timeout" in text
    assert "needs batch norm" in text
    assert "Too slow" in text


def test_metrics_of_any_size_make_a_site(matrix: MakeMany, tmp_path: Path) -> None:
    records = matrix(seeds=[0, 1, 2])
    for number, each in enumerate(records):
        each.metrics["interpretability/detectors"] = (number % 7 + 1) * 10.0 ** (8 * (number % 39))
    assert render(records, tmp_path, title="large").is_file()


def test_unchanged_inputs_are_not_rendered_again(
    matrix: MakeMany, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    records = matrix()
    index = render(records, tmp_path, title="demo")
    before = index.stat().st_mtime_ns
    render(records, tmp_path, title="demo")
    assert index.stat().st_mtime_ns == before
    first = index.read_bytes()
    render(records, tmp_path, title="other")
    assert index.read_bytes() != first
    render(records, tmp_path, title="demo")
    assert index.read_bytes() == first


def test_the_foot_says_when_and_from_what_a_site_was_made(
    matrix: MakeMany, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    sources = [tmp_path / "secret" / "quick", tmp_path / "<b>.jsonl.gz"]
    records = matrix(seeds=[0])
    render(records, tmp_path / "site", title=hostile, sources=sources)
    for path, page in pages(tmp_path / "site").items():
        words = " ".join(page.text.split())
        assert f"Made 2023-11-14 22:13 UTC by benchsuite {version('benchsuite')}" in words, path
        assert (
            f"from {len(records)} records of quick, <b>.jsonl.gz; the trials ran with benchsuite 0.1.0"
            in words
        )
        assert "secret" not in page.text


def test_a_site_says_when_it_is_out_of_date(matrix: MakeMany, tmp_path: Path) -> None:
    state = tmp_path / "site" / "assets" / "state.js"
    mark_stale(tmp_path / "site", "no site, no notice")
    assert not state.exists()
    records = matrix(seeds=[0])
    render(records, tmp_path / "site", title="demo")
    fresh = state.read_bytes()
    mark_stale(tmp_path / "site", "a </script> run began")
    assert state.read_bytes() != fresh
    # The same inputs again: nothing else is written, but the notice goes.
    render(records, tmp_path / "site", title="demo")
    assert state.read_bytes() == fresh


def test_no_link_within_a_site_is_written_through_or_emptied(matrix: MakeMany, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "old.html").write_text("mine")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / f".index.html.{os.getpid()}").symlink_to(tmp_path / "mine" / "old.html")
    (tmp_path / "site" / "cells.html").symlink_to(tmp_path / "mine" / "old.html")
    render(matrix(seeds=[0]), tmp_path / "site", title="demo")
    assert not (tmp_path / "site" / "cells.html").is_symlink()
    for folder in ("assets", "criteria", "workloads", "trials"):
        shutil.rmtree(tmp_path / "site" / folder)
        (tmp_path / "site" / folder).symlink_to(tmp_path / "mine")
        with pytest.raises(UsageError, match=f"{folder} is a link"):
            render(matrix(seeds=[1]), tmp_path / "site", title="demo")
        (tmp_path / "site" / folder).unlink()
    assert [(path.name, path.read_text()) for path in (tmp_path / "mine").iterdir()] == [("old.html", "mine")]


def test_a_writing_that_was_interrupted_leaves_a_notice(
    matrix: MakeMany, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render(matrix(seeds=[0]), tmp_path, title="demo")
    monkeypatch.setattr(
        site, "write_atomically", lambda path, content: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        render(matrix(seeds=[1]), tmp_path, title="demo")
    assert "interrupted" in (tmp_path / "assets" / "state.js").read_text("utf-8")


def test_progress_counts_the_pages(matrix: MakeMany, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    render(matrix(seeds=[0]), tmp_path, title="demo", progress=lambda done, total: told.append((done, total)))
    number = len(list(tmp_path.rglob("*.html")))
    assert told == [(done, number) for done in range(1, number + 1)]


def test_what_differs_within_a_board_is_said(matrix: MakeMany, tmp_path: Path) -> None:
    records = matrix(seeds=[0, 1])
    render(records, tmp_path, title="demo")
    assert "Mixed." not in (tmp_path / "index.html").read_text("utf-8")
    records[0].provenance["torch"] = "2.7 <b>"
    render(records, tmp_path, title="demo")
    mixed = [page.text for path, page in pages(tmp_path).items() if "Mixed." in page.text]
    # The overview, both workloads and the comparison.
    assert len(mixed) == 4
    assert all("versions of torch (2.6, 2.7 <b>)" in " ".join(text.split()) for text in mixed)


def test_downloads_hold_every_record(matrix: MakeMany, record: Make, tmp_path: Path) -> None:
    records = [
        *matrix(),
        record("=1+1", 0.5, None, error="line one\nline two, with a comma", status="killed"),
    ]
    records[0].metrics["odd"] = float("nan")
    records[1].metrics["loss"] = 0.1 + 0.2
    records[1].stages["score"] = "0123456789abcdef0123"
    records[2].provenance["device"] = float("inf")
    render(records, tmp_path, title="demo")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text("utf-8"))))
    assert [row["key"] for row in rows] == [r.key for r in records]
    for row, each in zip(rows[1:], records[1:], strict=True):
        assert {name: float(row[name]) for name in each.metrics} == each.metrics
    assert rows[-1]["scorer"] == "'=1+1"
    assert rows[-1]["error"] == "line one\nline two, with a comma"
    loaded = json.loads((tmp_path / "provenance.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert [r["key"] for r in loaded["records"]] == [r.key for r in records]
    assert len(loaded["shared"]) == 3, "settings, provenance, and one more provenance"
    for found, each in zip(loaded["records"], records, strict=True):
        assert loaded["shared"][found["settings"]] == each.settings
        assert found["stages"] == each.stages
        provenance = each.provenance if each is not records[2] else {**each.provenance, "device": None}
        assert loaded["shared"][found["provenance"]] == provenance


def test_downloads_of_earlier_versions_are_removed(matrix: MakeMany, tmp_path: Path) -> None:
    for name in ("results.parquet", "results.json.gz", "results.csv.gz", "results.csv.bz2", "mine.csv"):
        (tmp_path / name).write_text("old")
    render(matrix(), tmp_path, title="demo")
    left = {path.name for path in tmp_path.iterdir() if path.suffix not in (".html", "")}
    assert left == {"results.csv", "provenance.json", "mine.csv"}


def test_loading_the_site_loads_no_heavy_library() -> None:
    code = (
        "import sys, benchsuite_leaderboard.site as s; "
        "heavy = {'torch', 'mlflow', 'pandas', 'altair', 'scipy', 'vl_convert'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_pages_are_safe_and_distinct() -> None:
    names = ["a", "A", "a/b", "a-b", "../../etc/passwd", "分類", "", "con", "x" * 500, "a\x00b", "a b"]
    made = [slug(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", name) for name in made)
    assert slug("a", "bc") != slug("ab", "c")


def test_a_criterion_counts_its_trials_and_names_their_files(
    matrix: MakeMany, record: Make, tmp_path: Path
) -> None:
    records = [*matrix(), record("beta", 0.7, None, status="timeout", error="too slow")]
    render(records, tmp_path, title="demo")
    for scorer in ("alpha", "beta", "random", "reversed(alpha)"):
        page = (tmp_path / "criteria" / f"{slug(scorer)}.html").read_text("utf-8")
        mine = [r for r in records if r.axes["scorer"] == scorer]
        assert sum(map(int, re.findall(r"on digits: (\d+) trials?</summary>", page))) == len(mine)
        names = re.findall(r'data-shards="([^"]+)"', page)
        assert len(names) == 2
        assert all((tmp_path / "trials" / f"{name}.js").is_file() for name in names)


def test_pages_of_networks_that_are_pruned_before_training_speak_of_no_recovery(
    record: Make, tmp_path: Path
) -> None:
    made = [record(scorer, 0.5, 0.9, schedule="at-init", seed=seed) for scorer in "ab" for seed in (0, 1)]
    render(made, tmp_path, title="demo")
    for page in ("index.html", "cells.html", f"criteria/{slug('a')}.html"):
        text = (tmp_path / page).read_text("utf-8")
        text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        assert "efore training" in text
        assert not re.findall(r"(?:of|after|before|After|Before) recovery|same trained", text)


def test_pages_of_what_is_gone_are_removed(record: Make, tmp_path: Path) -> None:
    render([record("a", 0.5, 0.9), record("b", 0.5, 0.8)], tmp_path, title="demo")
    (tmp_path / "criteria" / "notes.txt").write_text("mine", "utf-8")
    render([record("a", 0.5, 0.9)], tmp_path, title="demo")
    assert {p.name for p in (tmp_path / "criteria").iterdir()} == {f"{slug('a')}.html", "notes.txt"}


def test_large_downloads_are_compressed_and_pandas_reads_them(matrix: MakeMany, tmp_path: Path) -> None:
    records = matrix(workloads=[("d", f"m{i}") for i in range(30)])
    for each in records:
        each.metrics["full"] = each.metrics["accuracy/top1"] / 3
        each.provenance["commit"] = each.key * 8
    offered = {each.name: each.content for each in downloads(records)}
    assert set(offered) == {"results.csv.bz2", "provenance.json.bz2"}
    (tmp_path / "results.csv.bz2").write_bytes(offered["results.csv.bz2"])
    frame = pd.read_csv(tmp_path / "results.csv.bz2")
    assert frame["full"].tolist() == pytest.approx([r.metrics["full"] for r in records], rel=1e-15)
    rows = csv.DictReader(io.StringIO(bz2.decompress(offered["results.csv.bz2"]).decode()))
    assert [float(row["full"]) for row in rows] == [r.metrics["full"] for r in records]
    assert offered == {each.name: each.content for each in downloads(records)}
