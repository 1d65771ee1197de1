"""Sites and summaries, by whatever renderer is installed."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any, cast

from benchsuite.errors import UsageError
from benchsuite.publishing.merge import merge
from benchsuite.trials.agreement import stored_agreements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchsuite.registry.registry import Registry
    from benchsuite.store.record import TrialRecord
    from benchsuite.store.run_directory import RunDirectory


def render_site(sources: Sequence[Path], output: Path, *, title: str, registry: Registry) -> Path:
    """Render run directories and results files with the installed renderer; returns the first page's path.

    The registry's scorers are described on their pages.

    Raises:
        UsageError: a path is neither a run directory nor a results file, or no renderer is installed.
    """
    merged = merge(sources)
    render = _renderer("leaderboard")
    if render is None:
        raise UsageError("no site renderer is installed (entry point leaderboard of benchsuite.sites)")
    about = {info.name: info.summary for info in registry.infos if info.kind == "scorer" and info.summary}
    page: Path = render(
        merged.records,
        output,
        title=title,
        pending=merged.pending,
        notes=merged.notes,
        about=about,
        agreement=stored_agreements(sources, _train_keys(merged.records)),
        sources=sources,
    )
    return page


def render_summary(
    run: RunDirectory, records: Sequence[TrialRecord], output: Path, *, title: str, pending: int = 0
) -> Path | None:
    """Write the summary files of a run into a folder, which is returned; None without a renderer for them."""
    render = _renderer("summary")
    if render is None:
        return None
    agreement = stored_agreements([run.path], _train_keys(records))
    render(records, output, title=title, pending=pending, agreement=agreement)
    return output


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
