"""The process that logs models: what it does is a warning with the network's name, and nothing is left."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from logging_processes import behave
from tracked import dense_trial, key

from benchsuite.tracking import model_process
from benchsuite.tracking.model_choice import ChosenModel
from benchsuite.tracking.model_process import log_models
from benchsuite.tracking.request import Request

if TYPE_CHECKING:
    from pathlib import Path

NAME = "mlp on digits, dense"


def logged(folder: Path, *deeds: str, at_first: str = "here", stop: Any = lambda: False) -> list[str]:
    """What is told of networks over which the process does these things."""
    choices = tuple(ChosenModel("dense", dense_trial(key(deed)), deed) for deed in deeds)
    return log_models(Request(str(folder), None, "1", at_first, (), choices), stop, behave)


def notes(folder: Path) -> list[str]:
    return (folder / "notes").read_text().splitlines()


def test_what_it_says_of_a_network_is_told_printable_with_its_name(tmp_path):
    troubles = logged(tmp_path, "good", "is odd", "good")
    assert troubles == [f"{NAME}: is odd \ufffd[31m\ufffd"]
    assert notes(tmp_path) == ["started", "good", "is odd", "good"]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("leaves helpers", "ended early: exit code 3"),
        ("dies", "was killed by SIGSEGV"),
        ("floods", "sent too much"),
        ("pickles", "sent what is no answer"),
        ("sends a list", "sent what is no answer"),
        ("sends a number", "sent what is no answer"),
        ("sends nothing useful", "sent what is no answer"),
        ("nests", "sent what is no answer"),
        ("sends bytes", "sent what is no answer"),
    ],
)
def test_one_that_ends_or_sends_rubbish_costs_its_network_and_the_next_is_logged(tmp_path, deed, reason):
    (trouble,) = logged(tmp_path, "good", deed, "good")
    assert trouble.startswith(f"{NAME}: the process that logs it {reason}")
    assert notes(tmp_path) == ["started", "good", deed, "started", "good"]
    assert not (tmp_path / "opened").exists(), "nothing that it sends is unpickled"
    check_nothing_left(tmp_path)


@pytest.mark.parametrize("deed", ["hangs", "drips"])
def test_one_that_gives_no_answer_is_killed_and_the_next_network_is_logged(tmp_path, deed, monkeypatch):
    monkeypatch.setattr(model_process, "SECONDS", 3.0)
    (trouble,) = logged(tmp_path, "good", deed, "good")
    assert trouble == f"{NAME}: the process that logs it was killed after 3 s without an answer"
    assert notes(tmp_path) == ["started", "good", deed, "started", "good"]


def test_one_that_closes_its_connection_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(model_process, "_GRACE_SECONDS", 0.2)
    assert logged(tmp_path, "closes") == [f"{NAME}: the process that logs it closed its connection"]


@pytest.mark.parametrize("deed", ["leaves helpers", "pickles", "sends a number"])
def test_one_that_does_not_get_ready_costs_its_networks_and_is_not_tried_again(tmp_path, deed):
    first, second = logged(tmp_path, "good", "good", at_first=deed)
    assert first == second
    assert first.startswith(f"{NAME}: the process that logs it ")
    assert notes(tmp_path) == ["started"]
    check_nothing_left(tmp_path)


def test_an_interruption_ends_it_and_is_told_of_each_network(tmp_path):
    def stop() -> bool:
        return "hangs" in ((tmp_path / "notes").read_text() if (tmp_path / "notes").exists() else "")

    assert logged(tmp_path, "hangs", "good", stop=stop) == 2 * [f"{NAME}: the run was interrupted"]
    assert notes(tmp_path) == ["started", "hangs"]


def check_nothing_left(folder: Path) -> None:
    """No process that it started lives on."""
    if not (folder / "helpers").exists():
        return
    left = [int(word) for word in (folder / "helpers").read_text().split()]
    assert len(left) == 2
    deadline = time.monotonic() + 60
    while any(_lives(pid) for pid in left):
        assert time.monotonic() < deadline, os.getpid()
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
