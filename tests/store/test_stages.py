"""Stages: either complete or absent, and any later change of their files is found."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from benchsuite.store import stages
from benchsuite.store.files import StorageError, cannot_store
from benchsuite.store.keys import content_key
from benchsuite.store.stages import (
    Facts,
    Stage,
    StageDamaged,
    content_digest,
    is_complete,
    load_tensors,
    read_facts,
    save_tensors,
)

if TYPE_CHECKING:
    from pathlib import Path

VALUES = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}


class Noted(Facts):
    number: int
    words: dict[str, str] = Field(default={})


class Maker:
    """Makes a stage of one file and counts how often it does so."""

    def __init__(self, folder: Path, made_from: str = "") -> None:
        self.stage = Stage(folder, Noted, ["a.safetensors"], made_from)
        self.made = 0
        self.told: list[str] = []

    def get(self, number: int = 7, values: dict[str, torch.Tensor] = VALUES) -> Noted:
        def make() -> Noted:
            self.made += 1
            save_tensors(self.stage.folder / "a.safetensors", values)
            return Noted(number=number, words={"a": "b"})

        return self.stage.get(make, self.told.append)


def test_a_stage_is_made_once_and_then_read(tmp_path: Path) -> None:
    maker = Maker(tmp_path / "s")
    assert not is_complete(tmp_path / "s")
    assert maker.stage.read() is None
    assert content_digest(tmp_path / "s") is None
    assert maker.get() == maker.get(number=8) == Noted(number=7, words={"a": "b"})
    assert (maker.made, maker.told) == (1, [])
    assert is_complete(tmp_path / "s")


def test_what_a_process_left_that_died_while_it_wrote_goes_with_the_next_making(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    left = [folder / ".a.safetensors.17115", folder / ".stage.json.3"]
    others = [folder / ".b.safetensors.17115", folder / ".a.safetensors.old", folder / "a.safetensors.3"]
    for file in (*left, *others):
        file.write_bytes(b"half")
    Maker(folder).get()
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in others)


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ('{"weights": ["s"]}', "was freed by clean"),
        ('{"weights": ["other"]}', "is gone"),
        ('{"weights": 3}', "is gone"),
        ("[" * 100_000, "is gone"),
        (None, "is gone"),
    ],
)
def test_what_was_freed_is_not_called_damaged(tmp_path: Path, noted: str | None, said: str) -> None:
    maker = Maker(tmp_path / "stages" / "s")
    maker.get()
    file = maker.stage.folder / "a.safetensors"
    file.unlink()
    if noted is not None:
        (tmp_path / "freed.json").write_text(noted)
    maker.get()
    assert maker.told == [f"{file} {said}; it is made anew"]
    assert maker.made == 2


def test_what_was_not_completed_is_made_again(tmp_path: Path) -> None:
    maker = Maker(tmp_path / "s")

    def dies() -> Noted:
        save_tensors(tmp_path / "s" / "a.safetensors", VALUES)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maker.stage.get(dies, maker.told.append)
    assert maker.get().number == 7
    assert (maker.made, maker.told) == (1, [])


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_and_the_stage_made_anew(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("s")
    maker = Maker(folder)
    maker.get()
    before = content_digest(folder)
    file = folder / "a.safetensors"
    content = bytearray(file.read_bytes())
    content[position % len(content)] ^= 1 << bit
    file.write_bytes(content)
    with pytest.raises(StageDamaged, match=r"a\.safetensors is damaged"):
        maker.stage.read()
    assert maker.get().number == 7
    assert maker.made == 2
    (line,) = maker.told
    assert line.endswith("it is made anew")
    assert torch.equal(load_tensors(file)["weight"], VALUES["weight"])
    assert content_digest(folder) == before


def test_large_files_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_LARGE", 10)
    maker = Maker(tmp_path / "s")
    maker.get()
    file = tmp_path / "s" / "a.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    maker.get()
    assert maker.made == 2


@pytest.mark.parametrize("how", ["absent", "empty", "truncated", "longer"])
def test_a_file_that_is_not_whole_is_made_anew(tmp_path: Path, how: str) -> None:
    maker = Maker(tmp_path)
    maker.get()
    file = tmp_path / "a.safetensors"
    content = file.read_bytes()
    file.unlink()
    if how != "absent":
        file.write_bytes({"empty": b"", "truncated": content[:-5], "longer": content + b"\0"}[how])
    maker.get()
    assert maker.made == 2
    assert len(maker.told) == 1


GOOD: dict[str, Any] = {"key": "s", "facts": {"number": 1}, "files": {}, "made_from": "", "content": ""}


def stage_file(**changed: object) -> str:
    """The content of a `stage.json` whose checksum is right."""
    content = {**GOOD, **changed}
    return json.dumps({**content, "checksum": content_key(content)})


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "",
        "null",
        "[]",
        "7",
        '"text"',
        "{" * 100_000,
        "\xff\xfe",
        json.dumps({"files": {}}),
        json.dumps(GOOD),
        json.dumps({**GOOD, "checksum": "00"}),
        stage_file(key="another"),
        stage_file(facts={}),
        stage_file(facts={"number": "many"}),
        stage_file(facts={"number": None}),
        stage_file(facts=7),
        stage_file(files=[]),
        stage_file(files={"a.safetensors": 7}),
        stage_file(files={"../../etc/passwd": "00"}),
        stage_file(files={"a.safetensors": "00"}),
        stage_file(made_from="another"),
        stage_file(more=1),
        json.dumps({"other": 1}),
        json.dumps({"number": 1}),
        '{"facts": {"number": NaN}, "files": {}}',
    ],
)
def test_a_stage_file_of_any_content_is_a_damage_and_never_a_crash(tmp_path: Path, content: str) -> None:
    maker = Maker(tmp_path / "s")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/stage.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(StageDamaged):
        maker.stage.read()
    assert maker.get().number == 7
    assert maker.made == 1
    (line,) = maker.told
    assert str(tmp_path) in line
    assert maker.get().number == 7
    assert maker.made == 1


def test_what_was_made_from_something_else_is_made_anew(tmp_path: Path) -> None:
    Maker(tmp_path, "first").get()
    other = Maker(tmp_path, "second")
    assert other.get(number=8).number == 8
    assert "was made from other stages" in other.told[0]


def test_the_content_says_whether_numbers_are_the_same(tmp_path: Path) -> None:
    changed = {**VALUES, "bias": torch.zeros(3)}
    for name, number, values in (("a", 1, VALUES), ("b", 2, VALUES), ("c", 1, changed)):
        Maker(tmp_path / name).get(number, values)
    digests = [content_digest(tmp_path / name) for name in "abc"]
    # Notes next to the files, such as durations, are not used by later stages.
    assert digests[0] == digests[1] != digests[2]


def test_a_stage_from_before_checksums_is_read_only_by_those_who_ask_for_it(tmp_path: Path) -> None:
    (tmp_path / "stage.json").write_text('{"number": 3, "unknown": 1}')
    old = Stage(tmp_path, Noted, ["a.safetensors"], "something", accept_old=True).read()
    assert old is not None
    assert old.number == 3
    assert content_digest(tmp_path) is None
    maker = Maker(tmp_path, "something")
    assert maker.get().number == 7
    assert "has no checksums; it is made anew" in maker.told[0]


class Deciding(Noted):
    decide = ("number",)


def test_facts_that_decide_numbers_count_like_files(tmp_path: Path) -> None:
    digests = []
    for name, facts in (
        ("a", Deciding(number=1)),
        ("b", Deciding(number=1, words={"seconds": "7"})),
        ("c", Deciding(number=2)),
    ):
        (tmp_path / name).mkdir()
        Stage(tmp_path / name, Deciding, []).complete(facts)
        digests.append(content_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


@given(position=st.integers(0, 10**6), byte=st.sampled_from(b"0123456789abcdefz,"))
def test_any_changed_character_of_the_facts_is_found(
    tmp_path_factory: pytest.TempPathFactory, position: int, byte: int
) -> None:
    folder = tmp_path_factory.mktemp("s")
    maker = Maker(folder)
    maker.get()
    file = folder / "stage.json"
    content = bytearray(file.read_bytes())
    content[position % len(content)] = byte
    file.write_bytes(content)
    assert maker.get() == Noted(number=7, words={"a": "b"})
    assert len(maker.told) == maker.made - 1


def test_files_of_another_stage_do_not_stand_for_it(tmp_path: Path) -> None:
    Maker(tmp_path / "seed0").get(number=1)
    shutil.copytree(tmp_path / "seed0", tmp_path / "seed1")
    maker = Maker(tmp_path / "seed1")
    assert maker.get().number == 7
    assert "is that of another stage, 'seed0'" in maker.told[0]


def test_facts_can_be_shown_without_a_look_at_the_files(tmp_path: Path) -> None:
    assert read_facts(tmp_path, Noted) is None
    Maker(tmp_path, "x").get()
    (tmp_path / "a.safetensors").write_bytes(b"damaged")
    facts = read_facts(tmp_path, Noted)
    assert facts is not None
    assert facts.number == 7


def _wants(folder: Path, started: Any, results: Any) -> None:
    maker = Maker(folder)

    def slowly() -> Noted:
        maker.made += 1
        started.set()
        time.sleep(0.3)
        save_tensors(folder / "a.safetensors", VALUES)
        return Noted(number=maker.made)

    results.put((maker.stage.get(slowly, maker.told.append).number, maker.made))


def test_of_several_processes_one_makes_the_stage_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results, started = context.Queue(), context.Event()
    processes = [context.Process(target=_wants, args=(tmp_path, started, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [number for number, _ in found] == [1] * 4
    assert sum(made for _, made in found) == 1


@pytest.mark.parametrize("name", ["a.safetensors", "stage.json"])
def test_a_folder_in_place_of_a_file_of_a_stage_costs_a_new_one(tmp_path: Path, name: str) -> None:
    maker = Maker(tmp_path / "s")
    first = maker.get()
    (tmp_path / "s" / name).unlink()
    (tmp_path / "s" / name / "inside").mkdir(parents=True)
    assert maker.get() == first
    assert maker.made == 2
    assert maker.stage.read() == first
    # Who completes a stage without `get` has the same right.
    shutil.rmtree(tmp_path / "s")
    maker.get()
    (tmp_path / "s" / "stage.json").unlink()
    (tmp_path / "s" / "stage.json").mkdir()
    maker.stage.complete(first)
    assert maker.stage.read() == first


def test_a_damaged_stage_that_the_system_lets_nobody_delete_stops_a_run_and_fails_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker(tmp_path / "s")
    maker.get()
    (tmp_path / "s" / "a.safetensors").write_bytes(b"damaged")

    def refuse(self: Path, **_: Any) -> None:
        raise PermissionError(1, "Operation not permitted", str(self))

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "unlink", refuse)
        with pytest.raises(StorageError) as caught:
            maker.get()
    assert cannot_store(caught.value, tmp_path) == f"{tmp_path / 's'}: Operation not permitted"
    assert maker.get().number == 7
    assert maker.made == 2
