"""Run directories and results files from anywhere: each is read, or refused in a sentence."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from made_up_records import make_matrix

from benchsuite import cli
from benchsuite.store.record import TrialRecord

if TYPE_CHECKING:
    from pathlib import Path

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 2, -0.5, 10**400, 1e308, float("nan"), float("inf")),
    *("", "../../x", "/etc", "a\x00b", "\x1b[31m", "\ud800", "x" * 10_000, "nan", "native"),
    *([], {}, [[]], {"a": 1}),
]
GONE = object()
NOISE = ["\x00", "[", "{", '"', "\n", "[" * 5000, "\ud83d\ude00", "\r"]
PLANS = ["", "[", "{}", "[1]", "null", '{"cells": 3}', '{"cells": [{}]}', "[" * 5000, '{"threads": "x"}']
SUITES = ["", "[", "a = 1", "[suite]\nname = 3", "x = " + "[" * 5000, "\x00"]


def originals() -> list[dict[str, Any]]:
    found = []
    for record in make_matrix(seeds=[0], sparsities=[0.5]):
        plain = json.loads(record.to_json())
        plain["key"] = hashlib.sha256(plain["key"].encode()).hexdigest()[:20]
        plain["stages"] = dict.fromkeys(("data", "train", "score", "trial"), plain["key"])
        found.append(plain)
    return found


def places(node: object, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [place] if place else []
    if isinstance(node, dict):
        for name, value in node.items():
            found += places(value, (*place, name))
    return found


def mutated(records: list[dict[str, Any]], chance: random.Random) -> str:
    """The lines of a results file of which some values are others, or gone, or noise."""
    records = copy.deepcopy(records)
    for _ in range(chance.randint(1, 4)):
        record = chance.choice(records)
        *way, last = chance.choice(places(record))
        node = record
        for name in way:
            node = node[name]
        value = chance.choice([*VALUES, GONE, GONE])
        if value is GONE:
            del node[last]
        else:
            node[last] = value
    text = "".join(json.dumps(record) + "\n" for record in records)
    if chance.random() < 0.2:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(NOISE) + text[at + chance.randint(0, 30) :]
    return text


def said(command: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = cli.main(command)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


FEW, MANY = 150, int(os.environ.get("BENCHSUITE_FUZZ", "1000"))
SHARES = [
    pytest.param(range(FEW), id="some"),
    pytest.param(range(FEW, FEW + MANY), id="many", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("numbers", SHARES)
def test_any_run_directory_is_read_or_refused(
    numbers: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = originals()
    for number in numbers:
        chance = random.Random(number)
        run = tmp_path / f"run{number}"
        run.mkdir()
        (run / "results.jsonl").write_text(mutated(records, chance), "utf-8", "surrogatepass")
        if chance.random() < 0.4:
            (run / "plan.json").write_text(chance.choice(PLANS))
        if chance.random() < 0.3:
            (run / "suite.toml").write_text(chance.choice(SUITES))
        commands = [["results", str(run), "--format", chance.choice(["csv", "json", "table"])]]
        if number % 10 == 0:
            commands.append(["leaderboard", str(run), "--output", str(tmp_path / "site")])
        for command in commands:
            code, text = said(command, capsys)
            assert code in (0, 1, 4), (number, text[-2000:])
            assert "\x1b" not in text, number


@pytest.mark.parametrize("numbers", SHARES)
def test_any_results_file_is_verified_or_refused(
    numbers: range, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = {"format": "benchsuite-results", "format_version": 1, "name": "x", "suite": "[suite]"}
    for number in numbers:
        chance = random.Random(number)
        file = tmp_path / "sent.jsonl"
        file.write_text(mutated([header, *originals()], chance), "utf-8", "surrogatepass")
        for command in (
            ["verify", str(file)],
            ["leaderboard", str(file), "--output", str(tmp_path / "site")],
        )[: 1 + (number % 10 == 0)]:
            code, text = said(command, capsys)
            assert code in (0, 1, 4), (number, text[-2000:])
            assert "\x1b" not in text, number


@pytest.mark.parametrize("name", ["key", "train", "trial"])
@pytest.mark.parametrize("value", ["../../x", "/etc/passwd", "..", "a/b", "a\\b", "\x00", "x" * 200, " "])
def test_names_from_outside_never_become_paths(name: str, value: str) -> None:
    record = originals()[0]
    if name == "key":
        record["key"] = value
    else:
        record["stages"][name] = value
    with pytest.raises(ValueError, match="is no content key"):
        TrialRecord.from_json(json.dumps(record))
