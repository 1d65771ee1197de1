"""Local checkpoints: which ones can be read, and the messages for those that do not fit."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

import benchsuite
from benchsuite_models.cifar_resnet import ResNet20
from benchsuite_models.lenet import LeNet5
from benchsuite_models.mlp import Mlp

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchsuite_models._local_weights import ModelWithWeights


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return Mlp().build((4,), 3).state_dict()


def build(path: Path, classes: int = 3) -> dict[str, Tensor]:
    return Mlp(weights=str(path)).build((4,), classes).state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
    ],
)
def test_torch_files_in_their_usual_wrappings(tmp_path: Path, state: dict[str, Tensor], wrap: Any) -> None:
    torch.save(wrap(state), tmp_path / "net.th")
    loaded = build(tmp_path / "net.th")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_safetensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "net.safetensors")
    loaded = build(tmp_path / "net.safetensors")
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_counters_of_batches_may_be_absent(tmp_path: Path) -> None:
    state = {
        k: v
        for k, v in ResNet20().build((3, 32, 32), 10).state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "net.pt")
    loaded = ResNet20(weights=str(tmp_path / "net.pt")).build((3, 32, 32), 10).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_misfits_name_keys_and_shapes(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["extra.weight"] = state.pop("hidden1.bias")
    state["hidden1.weight"] = torch.zeros(50, 5)
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(benchsuite.DataError) as caught:
        build(tmp_path / "net.pt")
    assert str(caught.value) == (
        f"{tmp_path / 'net.pt'} does not fit the network:"
        " 1 missing (hidden1.bias); 1 unexpected (extra.weight);"
        " 1 of another shape (hidden1.weight has shape (50, 5) where the network has (50, 4))"
    )


def test_long_lists_of_misfits_are_cut(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(benchsuite.DataError, match=r"10 missing \(c1.weight, .*, c5.bias and 4 more\)"):
        LeNet5(weights=str(tmp_path / "net.pt")).build((1, 28, 28), 10)


def test_another_number_of_classes_is_said_plainly(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(benchsuite.DataError, match="tells 3 classes apart, the data set has 7: use"):
        build(tmp_path / "net.pt", classes=7)


class Surprise:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code in a checkpoint was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Surprise(), protocol=2), "no checkpoint that can be read safely"),
        (b"", "is not a checkpoint|no checkpoint"),
        (b"garbage", "no checkpoint|not a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(benchsuite.DataError, match=message):
        build(tmp_path / "net.pt")


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(4, 3), tmp_path / "net.pt")
    with pytest.raises(benchsuite.DataError, match=r"read safely.*state_dict\(\)"):
        build(tmp_path / "net.pt")


def test_a_file_without_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "net.pt")
    with pytest.raises(benchsuite.DataError, match="holds no state dict"):
        build(tmp_path / "net.pt")


def test_torn_safetensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "net.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(benchsuite.DataError, match="is not a checkpoint"):
        build(tmp_path / "net.safetensors")


def test_absent_checkpoint_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(benchsuite.DataError, match=r"there is no checkpoint .*net\.pt"):
        build(tmp_path / "net.pt")
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(Mlp().build((4,), 3).state_dict(), tmp_path / "net.pt")
    assert Mlp(weights="~/net.pt").build((4,), 3)


def test_fingerprint_follows_the_file(tmp_path: Path) -> None:
    assert Mlp().fingerprint() == ""
    model: ModelWithWeights = Mlp(weights=str(tmp_path / "net.pt"))
    with pytest.raises(benchsuite.DataError, match=r"net\.pt"):
        model.fingerprint()
    (tmp_path / "net.pt").write_bytes(b"one")
    first = model.fingerprint()
    (tmp_path / "net.pt").write_bytes(b"other")
    assert len({"", first, model.fingerprint()}) == 3
