"""What a scorer may leave changed of its process: nothing, and each thing has its name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from benchsuite.scoring.process_state import process_state, restore

if TYPE_CHECKING:
    from collections.abc import Callable


def half_relu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    return x / 2


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "gradients": (lambda: torch.set_grad_enabled(False), "the mode of gradients"),
    "type": (lambda: torch.set_default_dtype(torch.float64), "torch's default type"),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "the number of threads"),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled()),
        "deterministic algorithms",
    ),
    "cudnn": (lambda: setattr(torch.backends.cudnn, "benchmark", True), "cuDNN's search"),
    "matmul": (lambda: torch.set_float32_matmul_precision("medium"), "the precision of products"),
    "environment": (lambda: os.environ.update(HOME="/nowhere"), "environment variables were changed (HOME)"),
    "variable": (lambda: os.environ.pop("PATH"), "environment variables were changed (PATH)"),
    "folder": (lambda: os.chdir("/"), "the current folder"),
    "signal": (lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN), "(SIGUSR1)"),
    "function": (
        lambda: setattr(torch.nn.functional, "relu", half_relu),
        "functions of torch were replaced (torch.nn.functional.relu)",
    ),
    "forward": (
        lambda: setattr(torch.nn.Conv2d, "forward", half_relu),
        "functions of torch were replaced (Conv2d.forward)",
    ),
    "method": (lambda: setattr(torch.Tensor, "sum", half_relu), "Tensor.sum"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_named_and_taken_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, words = CHANGES[name]
    before = process_state()
    try:
        change()
    finally:
        changed = restore(before)
    assert len(changed) == 1
    assert words in changed[0]
    assert restore(before) == []
    assert Path.cwd() == tmp_path


def test_added_variables_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing scikit-learn sets some."""
    before = process_state()
    monkeypatch.setenv("BENCHSUITE_TEST_ADDED", "1")
    assert restore(before) == []
