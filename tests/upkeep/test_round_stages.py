"""Rounds that trials share are stages like others: referred to, damaged, freed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made_up_runs import SCORE, TRIAL, complete, made_up_key, make_run

from benchsuite import cli
from benchsuite.metrics.network_cost import Cost
from benchsuite.store.stages import Stage
from benchsuite.trials.facts import CUT, RECOVERED, PointFacts, RecoveryFacts, RoundFacts
from benchsuite.upkeep.stage_state import look_at

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.store.run_directory import RunDirectory

ROUND = made_up_key("a round")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose first trial has a round, with what was measured after it."""
    run = make_run(tmp_path / "run")
    facts = RoundFacts(
        cuts=1,
        removed={"a": (0,)},
        metrics={"sparsity/params": 0.2},
        cost=Cost(10, 20, 10, 20, 30, ()),
        recovery=RecoveryFacts(
            losses=(1.0,), learning_rates=(0.1,), steps=1, steps_per_epoch=1, seconds=1.0, captured=False
        ),
        validation_top1=None,
        cut_seconds=1.0,
        seconds=2.0,
    )
    content = complete(run.stage(ROUND), facts, (CUT, RECOVERED))
    point = run.stage(ROUND) / made_up_key("measured")
    Stage(point, PointFacts, [], content).get(lambda: PointFacts(point={"accuracy/top1": 0.5}), print)
    return run


def refer(run: RunDirectory) -> None:
    (record,) = [each for each in run.results().records if each.key == TRIAL["first"]]
    run.append(replace(record, stages={**record.stages, "round_1": ROUND}))


def said(run: RunDirectory, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    capsys.readouterr()
    cli.main([command[0], str(run.path), *command[1:]])
    return capsys.readouterr().out


def test_a_round_that_a_record_names_is_no_orphan(run, capsys):
    assert look_at(run.stage(ROUND)).kind == "round"
    assert f"stages/{ROUND}: no record and no cell" in said(run, capsys, "doctor")
    refer(run)
    assert said(run, capsys, "doctor").splitlines()[-1] == "all is well"
    said(run, capsys, "clean")
    assert run.stage(ROUND).is_dir()


def test_a_damaged_round_is_found_and_mended(run, capsys):
    refer(run)
    path = run.stage(ROUND) / RECOVERED
    os.truncate(path, path.stat().st_size - 8)
    (finding,) = json.loads(said(run, capsys, "doctor", "--format", "json"))["findings"]
    assert finding["key"] == ROUND
    assert "a round of rewinding by first of mlp on digits, seed 0" in json.dumps(finding)
    said(run, capsys, "doctor", "--repair")
    assert not run.stage(ROUND).exists()
    assert said(run, capsys, "doctor").splitlines()[-1] == "all is well"


def test_clean_frees_rounds_where_checkpoints_are_named(run, capsys):
    refer(run)
    out = said(run, capsys, "clean", "--checkpoints", "--dry-run")
    assert "rounds of rewinding (1)" in out
    said(run, capsys, "clean", "--checkpoints")
    assert not run.stage(ROUND).exists()
    assert run.stage(SCORE["first"]).exists()
    assert said(run, capsys, "doctor").splitlines()[-1] == "all is well"
