"""Observers: every call comes in order or is told of as lost, and never while the machine must be quiet."""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from benchsuite.execution import observers
from benchsuite.execution.observers import PluginObservers
from benchsuite.registry.loading import PluginSource
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchsuite.plan.trial import Trial

PLUGIN = """
import benchsuite, os, time
from pathlib import Path
FOLDER = Path({folder!r})

@benchsuite.hookimpl
def benchsuite_trial_started(key, axes):
    with (FOLDER / "calls").open("a") as file:
        file.write(f"started {{key}}\\n")

@benchsuite.hookimpl
def benchsuite_trial_finished(record):
    with (FOLDER / "calls").open("a") as file:
        file.write(f"finished {{record.key}}\\n")
    {body}
    with (FOLDER / "calls").open("a") as file:
        file.write(f"left {{record.key}}\\n")
"""
KEYS = [f"{number:020x}" for number in range(6)]


@dataclass(frozen=True)
class _Trial:
    key: str
    axes: dict[str, Any]


def record(key: str) -> TrialRecord:
    return TrialRecord(key, {"scorer": "a", "seed": 0}, "done", {"accuracy/top1": 0.5})


@pytest.fixture
def observing(tmp_path: Path) -> Iterator[Callable[[str], PluginObservers]]:
    made: list[PluginObservers] = []

    def make(body: str = "pass") -> PluginObservers:
        path = tmp_path / f"observer{len(made)}.py"
        path.write_text(PLUGIN.format(folder=str(tmp_path), body=body))
        made.append(PluginObservers([PluginSource.of_file(path)]))
        return made[-1]

    yield make
    for each in made:
        each.close(hurried=True)


def tell(watching: PluginObservers, key: str) -> None:
    trial = cast("Trial", _Trial(key, {"scorer": "a"}))
    watching.trial_started(trial)
    watching.recorded(trial, record(key), complete=False)
    watching.recorded(trial, record(key), complete=True)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(folder: Path, call: str) -> None:
    deadline = time.monotonic() + 60
    while call not in calls(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_call_comes_in_order_by_the_end(observing, tmp_path, caplog):
    watching = observing()
    for key in KEYS:
        tell(watching, key)
    watching.close()
    assert calls(tmp_path) == [f"{what} {key}" for key in KEYS for what in ("started", "finished", "left")]
    assert not caplog.records


def test_while_it_is_quiet_no_hook_is_at_work_and_the_calls_follow(observing, tmp_path, caplog):
    watching = observing("time.sleep(0.5)")
    tell(watching, KEYS[0])
    wait_for(tmp_path, f"finished {KEYS[0]}")
    with watching.quiet():
        before = calls(tmp_path)
        assert before[-1] == f"left {KEYS[0]}", "the call in work is waited for"
        tell(watching, KEYS[1])
        time.sleep(1.0)
        assert calls(tmp_path) == before
    watching.close()
    assert calls(tmp_path)[len(before) :] == [f"{what} {KEYS[1]}" for what in ("started", "finished", "left")]
    assert not caplog.records


def test_quiet_waits_for_the_call_in_work_and_for_no_other(observing, tmp_path):
    watching = observing("while not (FOLDER / record.key).exists(): time.sleep(0.001)")
    (watcher,) = watching._watchers
    for key in KEYS:
        tell(watching, key)

    def finish_once_quiet_is_wished(key: str) -> None:
        while not watcher._next.locked():
            time.sleep(0.001)
        (tmp_path / key).touch()

    for number, key in enumerate(KEYS[:-1], start=1):
        wait_for(tmp_path, f"finished {key}")
        wisher = threading.Thread(target=finish_once_quiet_is_wished, args=(key,))
        wisher.start()
        with watching.quiet():
            assert calls(tmp_path)[-1] == f"left {key}"
            assert len(calls(tmp_path)) == 3 * number
        wisher.join()
    (tmp_path / KEYS[-1]).touch()
    watching.close()
    assert len(calls(tmp_path)) == 3 * len(KEYS)


@pytest.mark.parametrize("hurried", [False, True])
def test_one_that_is_too_slow_is_told_of_with_what_it_did_not_get(
    observing, tmp_path, caplog, monkeypatch, hurried
):
    watching = observing(f"record.key == {KEYS[1]!r} and time.sleep(600)")
    for key in KEYS:
        tell(watching, key)
    wait_for(tmp_path, f"finished {KEYS[1]}")
    monkeypatch.setattr(observers, "_SECONDS" if hurried else "_SECONDS_AT_END", 0.5)
    watching.close(hurried=hurried)
    (warning,) = caplog.messages
    assert warning == (
        f"{tmp_path / 'observer0.py'} observes too slowly: the run waited 0.5 s for it at the end, and "
        "9 of 12 calls are lost"
    )


def test_one_that_dies_is_told_of_with_what_it_did_not_get(observing, tmp_path, caplog):
    watching = observing("os._exit(9)")
    for key in KEYS:
        tell(watching, key)
    watching.close()
    first, second = caplog.messages
    assert re.fullmatch(r".*observer0.py observes no more: its process exited with code 9 .*", first)
    assert second == f"{tmp_path / 'observer0.py'} did not get 11 of 12 calls"


def test_what_a_hook_raises_is_a_printable_warning_and_the_next_call_comes(observing, tmp_path, caplog):
    watching = observing(
        r'raise ValueError("\x1b[31mred\x1b]0;title\x07 \u202e turned \ud800" + "y" * 100_000)'
    )
    tell(watching, KEYS[0])
    tell(watching, KEYS[1])
    watching.close()
    assert len(caplog.messages) == 2
    for message in caplog.messages:
        assert "benchsuite_trial_finished of " in message
        assert "raised ValueError: \ufffd[31mred\ufffd]0;title\ufffd \ufffd turned" in message
        assert len(message) < 10_000
    assert calls(tmp_path)[-1] == f"finished {KEYS[1]}"
    assert all(each.levelno == logging.WARNING for each in caplog.records)


@pytest.mark.parametrize("answer", ["5", '{"a": 1}', "[1, null]", '"text"', "null"])
def test_an_answer_that_is_none_harms_nobody(observing, caplog, monkeypatch, answer):
    forge = (
        "import gc, io; [o.write('{\"answer\": ' + " + repr(answer) + " + '}\\n') or o.flush() "
        "for o in gc.get_objects() if isinstance(o, io.TextIOWrapper) and o.writable() and o.fileno() > 2]"
    )
    watching = observing(forge)
    tell(watching, KEYS[0])
    watching.close()
    assert not [each for each in caplog.messages if "Traceback" in each]
