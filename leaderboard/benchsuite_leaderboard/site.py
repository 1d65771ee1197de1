"""The site as a folder of files that needs no server and no network."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchsuite.errors import UsageError
from benchsuite.store.files import write_atomically
from benchsuite_leaderboard.downloads import as_json, downloads, published_downloads
from benchsuite_leaderboard.freshness import FRESH, REWRITING, STATE, mark_fresh, mark_stale, now
from benchsuite_leaderboard.pages.addresses import board_address, slug, workload_address
from benchsuite_leaderboard.pages.environment import ASSETS, PACKAGE
from benchsuite_leaderboard.rankings import Rankings, ranking_files, read_rankings
from benchsuite_leaderboard.run_folders import RunFolders
from benchsuite_leaderboard.suites import FOLDER as SUITES
from benchsuite_leaderboard.suites import published_suites, published_values, suites_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchsuite.publishing.signatures import Signature
    from benchsuite.store.record import TrialRecord
    from benchsuite.trials.agreement import NetworkAgreement
    from benchsuite_leaderboard.downloads import Download
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import Report
    from benchsuite_leaderboard.suites import PublishedSuite, Suite
    from benchsuite_leaderboard.trials import TrialFiles

_DIGEST = re.compile(rb'<meta name="benchsuite-inputs" content="([0-9a-f]{64})">')
_FOLDERS = {
    "criteria": re.compile(r"[a-z0-9-]+\.html"),
    "workloads": re.compile(r"[a-z0-9-]+\.html"),
    SUITES: re.compile(r"[a-z0-9-]+\.toml"),
    "published": re.compile(r"[a-z0-9-]+\.html"),
    "boards": re.compile(r"[a-z]+-[0-9a-f]{8}\.html"),
    "trials": re.compile(r"[a-z0-9-]+\.js"),
    "rankings": re.compile(r"[0-9a-f]{20}(?:\.html|\.png|-[0-9]+\.js)"),
    "pictures": re.compile(r"[0-9a-f]{20}-[a-z][a-z0-9._-]*\.(?:jpg|png)"),
}
"""The names of a site's files by folder; files with these names that are no longer made are removed."""
_AGREEMENT, _RANKINGS, _PUBLISHED = "agreement.html", "rankings.html", "published.html"
_DOWNLOADS = [
    f"{name}{ending}"
    for name in (
        *("results.csv", "provenance.json", "results.json", "results.parquet"),
        *("published.csv", "published.json"),
    )
    for ending in ("", ".gz", ".bz2")
]
"""The names of all downloads, also those of earlier versions; what is no longer offered is removed."""


def render(
    records: Sequence[TrialRecord],
    output: Path,
    *,
    title: str,
    pending: int = 0,
    notes: Sequence[str] = (),
    about: Mapping[str, str] | None = None,
    agreement: Sequence[NetworkAgreement] = (),
    sources: Sequence[Path] = (),
    signatures: Sequence[Signature] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the site and return the path of its first page.

    Does nothing if the first page says that it was made from the same inputs by the same version. Pages of
    criteria and workloads that are no longer among the records are removed.

    Args:
        records: outcomes; if several have one key, the last counts.
        output: the folder to write into; created if it does not exist.
        title: name of the suite or of the collection.
        pending: number of planned trials that have no record.
        notes: sentences that the reader must know, such as unreadable lines of the store.
        about: a sentence that describes each scorer, by its name.
        agreement: how similarly the criteria rank the units of each dense network.
        sources: where the records come from. Run directories also give the details that only they have: a
            trial's layers, pictures up to a limit (`trials.PICTURE_BYTES`), and what each criterion says of
            the units of each dense network (`rankings.BYTES`).
        signatures: who signed the results files among the sources.
        progress: told how many pages are made, and of how many.

    Raises:
        UsageError: a folder within the output is a link, at whose end files would be written and removed.
    """
    about = about or {}
    index = output / "index.html"
    _refuse_links(output)
    folders = RunFolders(sources)
    in_json, suites, rankings = as_json(records), suites_of(sources), read_rankings(sources, records)
    published, unread = published_suites(sources)
    notes = (*notes, *unread)
    digest = _digest(
        *(records, in_json, title, pending, notes, about, agreement, signatures, suites, rankings),
        *(folders, published),
    )
    if _made_from(index) == digest:
        mark_fresh(output)
        return index
    report = _report(
        records, title, pending, notes, agreement, signatures, sources, suites, rankings, published
    )
    files = _files(downloads(records), report, about, folders, digest, progress)
    mark_stale(output, REWRITING)
    for folder in {name.partition("/")[0] for name in files if "/" in name}:
        (output / folder).mkdir(parents=True, exist_ok=True)
    for folder, own in _FOLDERS.items():
        for stale in (output / folder).glob("*"):
            if own.fullmatch(stale.name) and f"{folder}/{stale.name}" not in files:
                stale.unlink()
    for name in {_AGREEMENT, _RANKINGS, _PUBLISHED, *_DOWNLOADS} - files.keys():
        (output / name).unlink(missing_ok=True)
    # The first page is written last: its digest says that all other files are complete.
    for name, content in files.items():
        write_atomically(output / name, content)
    write_atomically(output / STATE, FRESH)
    return index


def _report(
    records: Sequence[TrialRecord],
    title: str,
    pending: int,
    notes: Sequence[str],
    agreement: Sequence[NetworkAgreement],
    signatures: Sequence[Signature],
    sources: Sequence[Path],
    suites: tuple[Suite, ...],
    rankings: Rankings,
    published: tuple[PublishedSuite, ...],
) -> Report:
    # The libraries are loaded only if the site must be written.
    from benchsuite_leaderboard.agreement import workload_agreements
    from benchsuite_leaderboard.report import make_report

    return replace(
        make_report(
            records, title=title, pending=pending, notes=notes, published=published_values(published)
        ),
        agreements=workload_agreements(agreement),
        signatures=tuple(signatures),
        made=now(),
        # Only the names: a site may be published, and paths tell of the machine.
        sources=tuple(source.resolve().name for source in sources),
        suites=suites,
        rankings=rankings,
        published=published,
    )


def _files(
    offered: list[Download],
    report: Report,
    about: Mapping[str, str],
    folders: RunFolders,
    digest: str,
    progress: Callable[[int, int], None] | None,
) -> dict[str, bytes]:
    from benchsuite_leaderboard.pages.overview import overview
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.published import as_rows
    from benchsuite_leaderboard.trials import trial_files

    views = Views()
    offered = [*offered, *published_downloads(as_rows(views.every_published(report)))]
    files = {f"assets/{path.name}": path.read_bytes() for path in sorted(ASSETS.iterdir())}
    files |= {each.name: each.content for each in offered}
    files |= {
        f"{SUITES}/{each.file}": each.text.encode("utf-8", "replace") for each in report.suites if each.text
    }
    of_trials = trial_files(report, folders)
    files |= of_trials.files
    files |= ranking_files(report.rankings)
    pages = dict(_pages(report, views, about, of_trials))
    pages["index.html"] = lambda: overview(report, views, offered, digest=digest)
    for done, (name, make) in enumerate(pages.items(), 1):
        files[name] = make().encode("utf-8", "replace")
        if progress is not None:
            progress(done, len(pages))
    return files


def _pages(
    report: Report, views: Views, about: Mapping[str, str], of_trials: TrialFiles
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every page but the first, by its address, each with what makes it."""
    from benchsuite_leaderboard.pages.agreement import agreement_page
    from benchsuite_leaderboard.pages.criterion import criterion_page, distinct_criteria
    from benchsuite_leaderboard.pages.overview import board_page
    from benchsuite_leaderboard.pages.pair import pair_page
    from benchsuite_leaderboard.pages.published import published_pages
    from benchsuite_leaderboard.pages.ranking import ranking_page, rankings_page
    from benchsuite_leaderboard.pages.tables import cells_page, comparison_page, method_page
    from benchsuite_leaderboard.pages.trial import trial_page
    from benchsuite_leaderboard.pages.workload import workload_page

    for criterion in distinct_criteria(report):
        yield (
            f"criteria/{slug(criterion.label)}.html",
            partial(criterion_page, report, views, criterion, about, of_trials),
        )
    for board in report.boards:
        for pair in board.board.workloads:
            yield (
                workload_address(report, pair, board),
                partial(workload_page, report, views, pair, board),
            )
    for board in report.boards[1:]:
        yield board_address(report, board), partial(board_page, report, views, board)
    for each in report.boards or (None,):
        address = "comparison.html" if each is None else board_address(report, each, "comparison")
        yield address, partial(comparison_page, report, views, each)
    if report.agreements:
        yield _AGREEMENT, partial(agreement_page, report)
    if report.rankings.networks:
        yield _RANKINGS, partial(rankings_page, report)
    for network in report.rankings.networks:
        yield network.address, partial(ranking_page, report, network)
    yield from published_pages(report, views, _PUBLISHED)
    yield "cells.html", partial(cells_page, report, views)
    yield "pair.html", partial(pair_page, report)
    yield "trial.html", partial(trial_page, report)
    yield "method.html", partial(method_page, report)


def _digest(
    records: Sequence[TrialRecord],
    in_json: str,
    title: str,
    pending: int,
    notes: Sequence[str],
    about: Mapping[str, str],
    agreement: Sequence[NetworkAgreement],
    signatures: Sequence[Signature],
    suites: Sequence[Suite],
    rankings: Rankings,
    folders: RunFolders,
    published: Sequence[PublishedSuite],
) -> str:
    """Return a digest of everything that the site is made from, this package included."""
    found = hashlib.sha256()
    stamp = folders.stamp(record.key for record in records)
    facts = (
        *(repr(sorted(about.items())), repr(agreement), repr(signatures), repr(suites), stamp, in_json),
        *(repr(published), rankings.stamp, str(rankings.left_out)),
    )
    for part in (title, str(pending), *notes, *facts):
        found.update(part.encode("utf-8", "surrogatepass") + b"\x00")
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in {".py", ".j2", ".css", ".js"}:
            found.update(path.read_bytes())
    return found.hexdigest()


def _refuse_links(output: Path) -> None:
    """Raise `UsageError` if a folder of the site is a link; the site's own folder may be one."""
    for name in ("assets", *_FOLDERS):
        if (output / name).is_symlink():
            raise UsageError(f"{output / name} is a link; a site has its own folder there")


def _made_from(index: Path) -> str | None:
    if not index.is_file():
        return None
    try:
        with index.open("rb") as file:
            match = _DIGEST.search(file.read(4096))
    except OSError:
        return None
    return match[1].decode() if match else None
