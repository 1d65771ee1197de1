"""The answers of all boards as compact data for the script of the first page's picker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite_leaderboard.pages.addresses import board_address, slug, trial_id, workload_address
from benchsuite_leaderboard.pages.answers import answers
from benchsuite_leaderboard.pages.formats import (
    clean,
    count,
    in_words,
    interval,
    percent,
    sparsity,
    speed_words,
)
from benchsuite_leaderboard.pages.switch import in_short

if TYPE_CHECKING:
    from benchsuite_leaderboard.board import Workload
    from benchsuite_leaderboard.pages.answers import Answer, Option
    from benchsuite_leaderboard.pages.views import Views
    from benchsuite_leaderboard.report import BoardReport, Report

MOST_OPTIONS = 12
"""Of more criteria that may be best, the others are only counted; of those with the highest mean half as many
are listed where others may be best too."""

CITED = ("benchsuite", "commit", "torch")
"""The versions that are named beside a number."""

Data = dict[str, Any]


def picker_data(report: Report, views: Views) -> Data:
    """Everything that the picker shows, as texts that need no further formatting.

    Criteria, workloads and boards are listed once and named by their place in the list. An answer's key is
    the places of its board and workload and its sparsity; the workload "" stands for the mean over all.
    """
    names = in_short(report.boards)
    pairs = list(report.workloads)
    criteria: dict[str, int] = {}
    found: dict[str, Data] = {}
    for number, board in enumerate(report.boards):
        several = [None] if len(board.board.workloads) > 1 else []
        for pair in (*several, *board.board.workloads):
            place = "" if pair is None else str(pairs.index(pair))
            for answer in answers(views, board, board.after, pair):
                key = f"{number}|{place}|{sparsity(answer.sparsity)}"
                found[key] = _answer(answer, criteria)
    return {
        "boards": [_board(report, board, names[board.anchor]) for board in report.boards],
        "workloads": [
            [
                clean(pair.dataset, 100),
                clean(pair.model, 100),
                [_page(report, pair, b) for b in report.boards],
            ]
            for pair in pairs
        ],
        "criteria": [[clean(label, 100), slug(label)] for label in criteria],
        "answers": found,
        "cite": cited(report),
    }


def cited(report: Report) -> str:
    """What a number of the site is cited with: suites, versions, number of trials, date."""
    suites = in_words(list(dict.fromkeys(clean(suite.name, 100) for suite in report.suites)), longest=100)
    versions = dict(report.versions)
    parts = [f"suite {suites}" if suites else clean(report.title, 100)]
    parts += [f"{name} {clean(' and '.join(versions[name]), 100)}" for name in CITED if name in versions]
    parts.append(count(report.trials, "trial"))
    return ", ".join(parts) + (f"; page made {report.made}" if report.made else "")


def _page(report: Report, pair: Workload, board: BoardReport) -> str:
    """The page of a workload on a board; empty if it is not there."""
    return workload_address(report, pair, board) if pair in board.board.workloads else ""


def _board(report: Report, board: BoardReport, short: str) -> Data:
    protocol = board.board.protocol
    return {
        "id": protocol.digest,
        "name": clean(board.name, 300),
        "short": clean(short, 160),
        "page": board_address(report, board),
        "budget": clean({"macs": "MACs", "params": "parameters"}.get(protocol.budget, protocol.budget), 40),
        "training": protocol.training,
        "sparsities": [clean(sparsity(s), 30) for s in board.after.shared_sparsities],
    }


def _answer(answer: Answer, criteria: dict[str, int]) -> Data:
    verdict = answer.verdict
    if verdict is None or answer.sure is None:
        return {}
    highest, others = answer.highest, answer.options[len(answer.highest) :]
    first = highest[: max(MOST_OPTIONS - len(others), MOST_OPTIONS // 2)]
    second = others[: MOST_OPTIONS - len(first)]
    data: Data = {
        "options": [_option(each, criteria) for each in (*first, *second)],
        "highest": len(first),
        "accuracy": _said(verdict.estimate.mean, interval(verdict.estimate)),
        "sure": answer.sure.text,
    }
    if more := len(highest) - len(first):
        data["equal"] = more
    if more := len(others) - len(second):
        data["more"] = more
    if not answer.sure.beats_random:
        data["doubt"] = 1
    if answer.part:
        data["part"] = answer.part
    if answer.sure.apart:
        data["apart"] = answer.sure.apart
    if verdict.may_be_best is None:
        data["seeds"] = 1
    if verdict.random is not None:
        data["random"] = _said(verdict.random.mean, interval(verdict.random))
    elif verdict.random_lacks:
        data["random"] = f"lacks {verdict.random_lacks} of {verdict.cells} networks"
    if answer.dense is not None:
        data["dense"] = _said(answer.dense)
    return data


def _option(option: Option, criteria: dict[str, int]) -> Data:
    found: Data = {"c": criteria.setdefault(option.criterion.label, len(criteria))}
    for key, estimate in option.accuracies.items():
        found[key] = _said(estimate.mean, interval(estimate))
    if option.speedups:
        found["speed"] = [speed_words(each) for each in option.speedups]
    if option.macs_left is not None:
        uncounted = "" if option.macs_counted else " (some operations are not counted)"
        found["macs"] = f"{percent(option.macs_left)}%{uncounted}"
    if option.unstable:
        found["unstable"] = 1
    if option.trials:
        found["trials"] = [
            [clean(t.block.dense_model.seed, 20), trial_id(t.record.key), *_other_key(t.record.key)]
            for t in option.trials[:5]
        ]
    return found


def _other_key(key: str) -> list[str]:
    """The key itself where the trial's address is another one."""
    return [] if trial_id(key) == key else [clean(key, 100)]


def _said(mean: float, around: str = "") -> str:
    return f"{percent(mean)}%" + (f" {around}" if around else "")
