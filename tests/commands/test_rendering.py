"""How sites are rendered: by any renderer, those included that were written for an earlier benchsuite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from benchsuite.cli import main
from benchsuite.commands import rendering
from benchsuite.errors import UsageError
from benchsuite.publishing.results_file import Header, write_published
from benchsuite.publishing.signatures import signature_file
from benchsuite.registry.registry import Registry
from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path


SUITE = """
[suite]
name = "small"
seeds = [0]
sparsities = [0.5]
scorers = {scorers}

[[workload]]
dataset = "digits"
models = [{{ name = "mlp", hidden = [8] }}]

[training]
epochs = 0.2

[recovery]
epochs = 0

[metrics]
latency = false
"""


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """A file without a signature, and one with a bad one."""
    files = [tmp_path / "plain.jsonl", tmp_path / "bad.jsonl"]
    for file in files:
        write_published(file, Header(name="x", suite="", cells=0, versions={}), [])
    signature_file(files[1]).write_text("rubbish")
    return files


def test_a_renderer_that_knows_no_signatures_gets_them_as_notes(sources, tmp_path, monkeypatch) -> None:
    given: dict[str, Any] = {}

    def render(records, output, *, title, pending, notes, about, agreement, sources):
        given.update(notes=notes, sources=sources)
        return output / "index.html"

    monkeypatch.setattr(rendering, "_renderer", lambda name: render)
    site = rendering.render_site(sources, tmp_path / "site", title="x", registry=Registry())
    assert site.page == tmp_path / "site/index.html"
    assert given["sources"] == sources[:1]
    bad, plain = given["notes"]
    assert plain == f"{sources[0]}: not signed: there is no plain.jsonl.sig"
    assert bad.startswith(f"{sources[1]} is left out: bad signature")
    assert site.left_out == (bad,)


def test_a_renderer_that_takes_them_has_only_those_left_out_as_notes(sources, tmp_path, monkeypatch) -> None:
    given: dict[str, Any] = {}

    def render(records, output, **further):
        given.update(further)
        return output

    monkeypatch.setattr(rendering, "_renderer", lambda name: render)
    rendering.render_site(sources, tmp_path / "site", title="x", registry=Registry())
    assert [each.verdict for each in given["signatures"]] == ["unsigned"]
    (note,) = given["notes"]
    assert note.startswith(f"{sources[1]} is left out: bad signature")


def test_a_renderer_that_takes_progress_is_given_it(sources, tmp_path, monkeypatch) -> None:
    def older(records, output, *, title, pending, notes, about, agreement, sources):
        return output

    def newer(records, output, *, progress, **further):
        progress(1, 2)
        return output

    told: list[tuple[int, int]] = []
    for render in (older, newer):
        monkeypatch.setattr(rendering, "_renderer", lambda name, render=render: render)
        rendering.render_site(
            sources[:1],
            tmp_path / "site",
            title="x",
            registry=Registry(),
            progress=lambda done, total: told.append((done, total)),
        )
    assert told == [(1, 2)]


def test_a_folder_of_a_run_that_is_a_link_takes_no_pages(tmp_path) -> None:
    assert RunDirectory(tmp_path).own_folder("site") == tmp_path / "site"
    (tmp_path / "site").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="site is a link"):
        RunDirectory(tmp_path).own_folder("site")


def test_a_site_is_marked_stale_only_where_its_renderer_can_and_it_is_no_link(tmp_path, monkeypatch) -> None:
    marked: list[tuple[Path, str]] = []
    monkeypatch.setattr(rendering, "_renderer", lambda name: None)
    rendering.mark_stale(tmp_path, "why")
    monkeypatch.setattr(rendering, "_renderer", lambda name: lambda output, why: marked.append((output, why)))
    (tmp_path / "link").symlink_to(tmp_path)
    rendering.mark_stale(tmp_path / "link", "why")
    assert marked == []
    rendering.mark_stale(tmp_path, "why")
    assert marked == [(tmp_path, "why")]


def test_a_run_marks_its_site_until_it_is_written_anew(tmp_path, monkeypatch) -> None:
    def run(scorers: str) -> int:
        suite = tmp_path / "suite.toml"
        suite.write_text(SUITE.format(scorers=scorers))
        return main(["run", str(suite), "--output", str(tmp_path / "run")])

    state = tmp_path / "run" / "site" / "assets" / "state.js"
    assert run('["magnitude-l1"]') == 0
    fresh = state.read_text()
    with monkeypatch.context() as patched:
        patched.setattr("benchsuite.commands.run.render_site", Mock(side_effect=KeyboardInterrupt))
        assert run('["magnitude-l1", "magnitude-l2"]') == 2
    assert "A run began after these pages were made" in state.read_text()
    assert run('["magnitude-l1", "magnitude-l2"]') == 0
    assert state.read_text() == fresh
    assert "magnitude-l2" in (tmp_path / "run" / "site" / "index.html").read_text()
