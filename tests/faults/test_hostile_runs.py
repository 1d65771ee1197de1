"""Run directories of which something is not as benchsuite left it, through every command that takes one."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from small_runs import check_sentence, numbers_of, records_of
from test_hostile_results import GONE, NOISE, VALUES, places

from benchsuite import cli

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MANY = int(os.environ.get("BENCHSUITE_FUZZ", "1000"))
FEW = 25
BYTES = [b"", b"\x00", b"\x00" * 5000, b"\xff\xfe", b"[" * 5000, b"\n", b"a,b\n1,2\n", b"{}", b"null"]


def change(path: Path, chance: random.Random) -> str:
    """Spoil one file in a way that fits it, or not."""
    ways = ["bytes", "cut", "twice", "gone", "folder", "fifo", "other"]
    if path.suffix in (".json", ".jsonl"):
        ways += ["value"] * 8
    if path.suffix in (".toml", ".csv"):
        ways += ["line"] * 6
    if path.suffix == ".db":
        ways += ["table"] * 4
    way = chance.choice(ways)
    content = path.read_bytes()
    at = chance.randrange(len(content) + 1)
    match way:
        case "bytes":
            path.write_bytes(content[:at] + chance.randbytes(chance.randint(1, 40)) + content[at + 20 :])
        case "cut":
            path.write_bytes(content[:at])
        case "twice":
            path.write_bytes(content + content)
        case "other":
            path.write_bytes(chance.choice(BYTES))
        case "value":
            change_value(path, chance)
        case "line":
            lines = content.decode().splitlines()
            number = chance.randrange(len(lines)) if lines else 0
            lines[number : number + 1] = chance.choice(
                [[], [chance.choice(NOISE)], lines, [chance.choice(lines or [""]).replace("=", "= -")]]
            )
            path.write_text("\n".join(lines), "utf-8", "surrogatepass")
        case "table":
            change_table(path, chance)
        case _:
            path.unlink()
            if way == "folder":
                path.mkdir()
            elif way == "fifo":
                os.mkfifo(path)
    return f"{way} {path.name}"


def change_value(path: Path, chance: random.Random) -> None:
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = chance.randrange(len(lines))
    data: Any = json.loads(lines[number])
    if found := places(data):
        *before, last = chance.choice(found)
        node = data
        for name in before:
            node = node[name]
        value = chance.choice([*VALUES, GONE])
        if value is GONE:
            del node[last]
        else:
            node[last] = value
    lines[number] = json.dumps(data)
    path.write_text("\n".join(lines) + "\n", "utf-8", "surrogatepass")


def change_table(path: Path, chance: random.Random) -> None:
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA foreign_keys = OFF")
        names = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        store.execute(f"{chance.choice(['DELETE FROM', 'DROP TABLE'])} {chance.choice(names)}")
    store.close()


def commands(number: int, key: str, chance: random.Random) -> list[list[str]]:
    """Cheap commands each time, dear ones sometimes."""
    form = chance.choice(["csv", "json", "table"])
    found = [["results", "runs/small", "--format", form], ["plan", "small.toml"]]
    found += [["submit", "runs/small", "--output", "sent.jsonl"]]
    if number % 4 == 0:
        found += [["leaderboard", "runs/small", "--output", "site"]]
    if number % 4 == 1:
        found += [["export", "runs/small", key, "--output", "network"]]
    if number % 50 == 7:
        found += [["mlflow-sync", "runs/small"]]
    if number % 50 == 13:
        found += [
            ["run", "small.toml", "--timeout", "100"],
            ["leaderboard", "runs/small", "--output", "site"],
        ]
    return found


def tree(folder: Path) -> dict[str, int]:
    """What lies in a folder but for the run directory and what the commands were told to write."""
    own = {"runs", "sent.jsonl", "site", "network"}
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name not in own}


def spoil(numbers: range, finished: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = next(iter(records_of(finished / "runs/small")))
    outside = tree(here), {path.name for path in here.parent.iterdir()}
    for number in numbers:
        chance = random.Random(number)
        shutil.rmtree(here / "runs")
        shutil.copytree(finished / "runs", here / "runs")
        files = sorted(path for path in (here / "runs").rglob("*") if path.is_file())
        told = [change(path, chance) for path in chance.sample(files, chance.randint(1, 3))]
        for words in commands(number, key, chance):
            code = cli.main(words)
            said = "".join(capsys.readouterr())
            assert code in (0, 1, 4, 5), (number, told, words, said)
            check_sentence(said)
            assert "\x1b" not in said, (number, told)
            (here / "sent.jsonl").unlink(missing_ok=True)
        assert outside == (tree(here), {path.name for path in here.parent.iterdir()}), (number, told)


def test_a_spoilt_run_directory_is_read_mended_or_refused(
    finished: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(range(FEW - 1), finished, here, capsys)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(4))
def test_a_thousand_spoilt_run_directories(
    part: int, finished: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    share = range(FEW + part * MANY // 4, FEW + (part + 1) * MANY // 4)
    spoil(share, finished, here, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["*/stage.json", "*/*.safetensors", "*/training.json"])
@pytest.mark.parametrize("way", ["cut", "gone", "flipped"])
def test_what_is_damaged_is_made_anew_with_the_same_numbers(
    pattern: str, way: str, finished: Path, here: Path
) -> None:
    for path in (here / "runs/small/stages").glob(pattern):
        content = path.read_bytes()
        if way == "gone":
            path.unlink()
        elif way == "cut":
            path.write_bytes(content[: len(content) // 2])
        else:
            half = len(content) // 2
            path.write_bytes(content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :])
    (here / "runs/small/results.jsonl").unlink()
    assert cli.main(["run", "small.toml"]) == 0
    assert numbers_of(here / "runs/small") == numbers_of(finished / "runs/small")


def linked(folder: Path, outside: Path, spared: Sequence[str]) -> dict[Path, bytes]:
    """Put the files of a folder elsewhere and links in their places; return what lies there then."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in spared]
    for path in files:
        there = outside / path.relative_to(folder)
        there.parent.mkdir(parents=True, exist_ok=True)
        path.rename(there)
        path.symlink_to(there)
    return {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}


def test_what_is_made_anew_is_not_written_through_links(finished: Path, here: Path) -> None:
    for path in (here / "runs/small/stages").glob("*/stage.json"):
        path.write_text("{}")
    (here / "runs/small/results.jsonl").unlink()
    before = linked(here / "runs/small", here / "outside", [".lock", "mlflow.db"])
    for stage in (here / "runs/small/stages").iterdir():
        (stage / "system.csv").symlink_to(here / "outside/made")
    (here / "runs/small/mlflow.behind").symlink_to(here / "outside/made")
    assert cli.main(["run", "small.toml"]) == 0
    assert {path: path.read_bytes() for path in (here / "outside").rglob("*") if path.is_file()} == before
    assert numbers_of(here / "runs/small") == numbers_of(finished / "runs/small")


@pytest.mark.parametrize("name", ["results.jsonl", ".lock"])
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo"])
def test_results_that_lead_elsewhere_are_refused(
    name: str, kind: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = here / "runs/small" / name, here / "other"
    file.rename(other)
    before = other.read_bytes()
    if kind == "fifo":
        os.mkfifo(file)
    else:
        file.symlink_to(other if kind == "link" else here / "nowhere")
    assert cli.main(["run", "small.toml"]) == 4
    check_sentence(
        "".join(capsys.readouterr()), name, "not a regular file" if kind == "fifo" else "is a link"
    )
    assert other.read_bytes() == before
    assert not (here / "nowhere").exists()


@pytest.mark.parametrize("kind", ["train", "score", "trial"])
def test_a_stage_that_is_a_link_is_made_in_the_run_directory(kind: str, finished: Path, here: Path) -> None:
    (record,) = records_of(here / "runs/small").values()
    key = record["key"] if kind == "trial" else record["stages"][kind]
    outside, stage = here / "outside", here / "runs/small/stages" / key
    stage.rename(outside)
    (outside / "stage.json").write_text("{}")
    (outside / "link").symlink_to(here / "small.toml")
    os.mkfifo(outside / "pipe")
    stage.symlink_to(outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir() if path.is_file()}
    (here / "runs/small/results.jsonl").unlink()
    assert cli.main(["run", "small.toml"]) == 0
    assert {path.name: path.read_bytes() for path in outside.iterdir() if path.is_file()} == before
    assert sorted({path.name for path in outside.iterdir()} - before.keys()) == ["pipe"]
    assert not stage.is_symlink()
    assert numbers_of(here / "runs/small") == numbers_of(finished / "runs/small")


def test_a_run_writes_into_its_own_folders_only(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (key,) = records_of(here / "runs/small")
    for name, words in (("stages", ["run", "small.toml"]), ("exports", ["export", "runs/small", key])):
        folder = here / "runs/small" / name
        if folder.exists():
            folder.rename(here / f"old-{name}")
        (here / name).mkdir()
        folder.symlink_to(here / name)
        assert cli.main(words) == 4
        check_sentence("".join(capsys.readouterr()), f"{name} is a link")
        assert not list((here / name).iterdir())
        folder.unlink()
        if (here / f"old-{name}").exists():
            (here / f"old-{name}").rename(folder)


def test_a_folder_that_was_deleted_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = here / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert cli.main(["results", str(here / "runs/small")]) == 4
    check_sentence("".join(capsys.readouterr()), "the current folder does not exist any more")
