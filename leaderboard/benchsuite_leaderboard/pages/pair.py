"""The page that compares two criteria cell by cell, with the values of all of them as data."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from scipy.special import stdtrit

from benchsuite_leaderboard.pages.environment import environment
from benchsuite_leaderboard.pages.formats import clean, sparsity, workload
from benchsuite_leaderboard.pages.switch import in_short
from benchsuite_leaderboard.protocol import sparsity_order

if TYPE_CHECKING:
    from benchsuite_leaderboard.board import Block
    from benchsuite_leaderboard.report import BoardReport, Report


def pair_page(report: Report) -> str:
    """The page as HTML; a script shows the two criteria that the reader chooses."""
    return (
        environment()
        .get_template("pair.html.j2")
        .render(report=report, data=pair_data(report), root="", here="pair")
    )


def pair_data(report: Report) -> dict[str, Any]:
    """Of each board its cells, and each criterion's accuracy in each of them in hundredths of a percent.

    They have three decimals where they need them: the mean over draws of `random` would seem equal to another
    value without. A cell is a place in the list of workloads, a sparsity and a seed; None stands for what was
    not measured.
    `student` has pairs of degrees of freedom and Student's 97.5% quantile; a script interpolates.
    """
    names = in_short(report.boards)
    places = {pair: i for i, pair in enumerate(report.workloads)}
    boards = []
    for board in report.boards:
        blocks = sorted(board.board.asked, key=_order)
        criteria = _by_rank(board)
        boards.append(
            {
                "id": board.board.protocol.digest,
                "short": clean(names[board.anchor], 160),
                "criteria": [clean(c.label, 200) for c in criteria],
                "metrics": [[key, title] for key, title, _ in board.metrics],
                "cells": [
                    [
                        places[b.dense_model.workload],
                        clean(sparsity(b.sparsity), 30),
                        clean(b.dense_model.seed, 20),
                    ]
                    for b in blocks
                ],
                "values": {
                    key: [
                        [None if (v := values.get(b)) is None else _hundredths(v) for b in blocks]
                        for values in (standings.values[c] for c in criteria)
                    ]
                    for key, _, standings in board.metrics
                },
            }
        )
    freedoms = chain((f / 10 for f in range(10, 100)), range(10, 200, 5))
    return {
        "workloads": [clean(workload(pair), 120) for pair in report.workloads],
        "boards": boards,
        "student": [[f, round(float(stdtrit(f, 0.975)), 4)] for f in freedoms],
    }


def _hundredths(value: float) -> float:
    """Hundredths of a percent, as short as they can be written."""
    found = round(10_000 * value, 3)
    return int(found) if found.is_integer() else found


def _by_rank(board: BoardReport) -> list[Any]:
    """Criteria in the order of their colours: by rank, controls last."""
    return list(board.looks)


def _order(block: Block) -> tuple[Any, ...]:
    seed = block.dense_model.seed
    return (block.dense_model.workload, sparsity_order(block.sparsity), len(seed), seed)
