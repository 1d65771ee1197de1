"""Sites and summaries, by whatever renderer is installed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from benchsuite.errors import UsageError
from benchsuite.publishing.merge import merge
from benchsuite.publishing.signatures import check_signature
from benchsuite.trials.agreement import stored_agreements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchsuite.registry.registry import Registry
    from benchsuite.store.record import TrialRecord
    from benchsuite.store.run_directory import RunDirectory


@dataclass(frozen=True)
class Site:
    """A site that was rendered.

    Attributes:
        page: its first page.
        left_out: a sentence for each source that is not on it.
    """

    page: Path
    left_out: tuple[str, ...]


def mark_stale(output: Path, reason: str) -> None:
    """Let a site say why it may be out of date, if there is one and its renderer can do that."""
    with contextlib.suppress(UsageError):
        mark = _renderer("stale")
        if mark is not None and not output.is_symlink():
            mark(output, reason)


def render_site(
    sources: Sequence[Path],
    output: Path,
    *,
    title: str,
    registry: Registry,
    signers: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Site:
    """Render run directories and results files with the installed renderer.

    `progress` is told how many pages are made, and of how many. The registry's scorers are described on
    their pages. A file with a bad signature is left out, which the first note says; other signatures are
    noted for a renderer that takes no `signatures`.

    Raises:
        UsageError: a path is neither a run directory nor a results file, no renderer is installed, or the
            list of signers cannot be used.
    """
    render = _renderer("leaderboard")
    if render is None:
        raise UsageError("no site renderer is installed (entry point leaderboard of benchsuite.sites)")
    signatures = [check_signature(source, signers) for source in sources if source.is_file()]
    bad = [each for each in signatures if each.verdict == "bad"]
    left_out = tuple(f"{each.file} is left out: {each.words}" for each in bad)
    sources = [source for source in sources if all(source != each.file for each in bad)]
    signatures = [each for each in signatures if each not in bad]
    merged = merge(sources)
    takes_signatures = _takes(render, "signatures")
    further: dict[str, Any] = {"signatures": signatures} if takes_signatures else {}
    if progress is not None and _takes(render, "progress"):
        further["progress"] = progress
    noted = [] if takes_signatures else [f"{each.file}: {each.words}" for each in signatures]
    about = {info.name: info.summary for info in registry.infos if info.kind == "scorer" and info.summary}
    page: Path = render(
        merged.records,
        output,
        title=title,
        pending=merged.pending,
        notes=(*left_out, *merged.notes, *noted),
        about=about,
        agreement=stored_agreements(sources, _train_keys(merged.records)),
        sources=sources,
        **further,
    )
    return Site(page, left_out)


def _takes(render: Callable[..., Any], name: str) -> bool:
    """Whether a renderer takes an argument of this name; one written for an earlier benchsuite may not."""
    taken = inspect.signature(render).parameters
    return name in taken or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())


def render_summary(
    run: RunDirectory, records: Sequence[TrialRecord], *, title: str, pending: int = 0
) -> Path | None:
    """Write the run's summary files into its folder, which is returned; None without a renderer for them.

    Raises:
        UsageError: the folder is a link, or the renderer cannot be loaded.
    """
    output = run.own_folder("summary")
    render = _renderer("summary")
    if render is None:
        return None
    agreement = stored_agreements([run.path], _train_keys(records))
    further: dict[str, Any] = {"sources": [run.path]} if _takes(render, "sources") else {}
    render(records, output, title=title, pending=pending, agreement=agreement, **further)
    return output


def podium(records: Sequence[TrialRecord]) -> list[str]:
    """The best criteria of each budget as lines of text; none without a renderer for them.

    Raises:
        UsageError: the renderer cannot be loaded.
    """
    render = _renderer("podium")
    return [] if render is None else list(render(records))


def _train_keys(records: Sequence[TrialRecord]) -> list[str]:
    return [key for record in records if (key := record.stages.get("train"))]


def _renderer(name: str) -> Callable[..., Any] | None:
    point = next(iter(importlib.metadata.entry_points(group="benchsuite.sites", name=name)), None)
    if point is None:
        return None
    try:
        return cast("Callable[..., Any]", point.load())
    except ImportError as error:
        raise UsageError(f"the renderer of the {name} cannot be loaded: {error}") from error
