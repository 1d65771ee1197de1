"""Lines of the table of supported models, for models with known results."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import build, example
from torch import nn

from benchsuite.pruning import survey as module
from benchsuite.pruning.survey import survey


def test_a_supported_network() -> None:
    line = survey(lambda: build("resnet"), example())
    assert line.status == "ok"
    assert line.relative_difference is not None
    assert line.relative_difference < 1e-9
    assert line.macs_removed == pytest.approx(0.3, abs=0.05)
    assert (line.prunable_units, line.groups, line.reason) == (1.0, 4, "")


def test_a_partly_supported_network_says_what_stays() -> None:
    line = survey(lambda: build("option-a"), example(), sparsity=0.1)
    assert line.status == "ok"
    assert line.reason == "it meets channels that are padded with zeros"
    assert line.prunable_units == pytest.approx(88 / 120)


def test_what_cannot_be_reached_is_halved() -> None:
    line = survey(lambda: build("resnet"), example(), sparsity=0.98)
    assert (line.status, line.macs_removed) == ("ok", pytest.approx(0.49, abs=0.05))


def test_an_analysis_that_takes_too_long_is_unsupported() -> None:
    line = survey(lambda: build("resnet"), example(), trace_limit=0.001)
    assert line.status == "unsupported"
    assert "took longer than 0.001 s" in line.reason


def test_an_unsupported_network_says_why() -> None:
    line = survey(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), example())
    assert line.status == "unsupported"
    assert "it is the network's output" in line.reason


def test_a_wrong_result_is_never_called_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(model: nn.Module, graph: object, removed: object) -> nn.Module:
        pruned = remove_units(model, graph, removed)  # type: ignore[arg-type]
        with torch.no_grad():
            next(pruned.parameters()).mul_(1.1)
        return pruned

    remove_units = module.remove_units
    monkeypatch.setattr(module, "remove_units", spoilt)
    line = survey(lambda: build("resnet"), example())
    assert line.status == "wrong"
    assert "differs from the masked one" in line.reason
