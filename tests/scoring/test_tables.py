"""Named tensors in a store: in memory, in a shared folder, and in a temporary one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from benchsuite.scoring.tables import TableStore

if TYPE_CHECKING:
    from pathlib import Path

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1 / 3], dtype=torch.float64)}


def same(found: dict[str, torch.Tensor] | None) -> bool:
    assert found is not None
    assert {name: value.dtype for name, value in found.items()} == {"a": torch.float32, "b": torch.float64}
    return all(torch.equal(found[name], value) for name, value in TENSORS.items())


def test_tensors_come_back_as_copies_from_memory() -> None:
    store = TableStore()
    assert store.load_tensors("key") is None
    given = {name: value.clone() for name, value in TENSORS.items()}
    store.save_tensors("key", given)
    given["a"].zero_()
    store.load_tensors("key")["a"].zero_()
    assert same(store.load_tensors("key"))
    assert store.load_tensors("other") is None
    assert store.load("key") is None


def test_tensors_come_back_from_a_shared_folder(tmp_path: Path) -> None:
    TableStore(tmp_path / "tables").save_tensors("key", TENSORS)
    assert same(TableStore(tmp_path / "tables").load_tensors("key"))
    assert sorted(path.suffix for path in (tmp_path / "tables").iterdir()) == [".safetensors", ".sha256"]
    assert TableStore(tmp_path / "tables").load_tensors("other") is None


def test_tensors_beyond_the_share_of_memory_go_to_disk() -> None:
    store = TableStore(memory_share=0)
    store.save_tensors("key", TENSORS)
    assert store._tensors == {}
    assert same(store.load_tensors("key"))
    with store.filling(["table"], (2, 3)) as (array,):
        array[:] = 5
    assert same(store.load_tensors("key"))


def test_what_is_held_counts_towards_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TableStore()
    store._budget = 50.0
    store.save_tensors("first", TENSORS)
    store.save_tensors("second", TENSORS)
    assert list(store._tensors) == ["first"]
    assert same(store.load_tensors("first"))
    assert same(store.load_tensors("second"))


@pytest.mark.parametrize("ending", ["npy", "safetensors"])
@pytest.mark.parametrize("how", ["zeroed", "truncated", "empty", "no checksum"])
def test_a_damaged_file_is_as_absent(tmp_path: Path, ending: str, how: str) -> None:
    """Otherwise scores would be computed from other activations, without a word."""
    store = TableStore(tmp_path)
    store.save_tensors("key", TENSORS)
    with store.filling(["key"], (4, 5)) as (array,):
        array[:] = 1.0
    (file,) = tmp_path.glob(f"*.{ending}")
    content = file.read_bytes()
    if how == "no checksum":
        file.with_name(f"{file.name}.sha256").unlink()
    else:
        short = content[: len(content) // 2]
        file.write_bytes(
            {"zeroed": short + bytes(len(content) - len(short)), "truncated": short, "empty": b""}[how]
        )
    again = TableStore(tmp_path)
    assert (again.load("key") is None) == (ending == "npy")
    assert (again.load_tensors("key") is None) == (ending == "safetensors")


def test_what_another_store_has_filled_is_found_and_never_written(tmp_path: Path) -> None:
    host = TableStore(tmp_path / "tables")
    host.save_tensors("key", TENSORS)
    with host.filling(["table"], (2, 3)) as (array,):
        array[:] = 5
    before = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    reader = TableStore(shared=tmp_path / "tables")
    assert same(reader.load_tensors("key"))
    table = reader.load("table")
    assert table is not None
    table.zero_()
    reader.save_tensors("own", TENSORS)
    with reader.lock(), reader.filling(["other"], (2, 3)) as (array,):
        array[:] = 7
    assert same(reader.load_tensors("own"))
    assert float(reader.load("other")[0, 0]) == 7
    assert {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()} == before
    assert float(TableStore(shared=tmp_path / "tables").load("table")[0, 0]) == 5
