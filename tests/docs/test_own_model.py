"""The page "Prune my own model", executed from its first block to its last command."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchsuite.hardware.devices import prepare
from benchsuite.registry.discovery import discover
from benchsuite.training import on_device, train

PAGE = (Path(__file__).parents[2] / "docs/own-model.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return text


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_net.py").write_text(block("python"))
    Path("mine.toml").write_text(block("toml"))
    registry, _ = discover([Path("my_net.py")])
    data = registry.create("dataset", "digits", {}).load(tmp_path)
    plugin = registry.create("model", "my-net", {})
    torch.manual_seed(0)
    network = plugin.build(tuple(data.train.inputs.shape[1:]), len(data.classes))
    device = prepare("cpu")
    train(network, on_device(data, device), plugin.recipe, seed=0, device=device, epochs=3)
    exec(block("py"), {"network": network.eval()})

    outputs = []
    for line in re.findall(r"^ {4}(benchsuite .*)$", PAGE, re.MULTILINE):
        command = line.split()
        if "KEY" in command:
            command[command.index("KEY")] = best(outputs[-1])["key"]
        words = [sys.executable, "-m", "benchsuite.cli", *command[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)

    trial = best(outputs[-2])
    program = torch.export.load("pruned-net/model.pt2").module()
    inputs = data.test.inputs.float() / 255 if data.test.inputs.dtype == torch.uint8 else data.test.inputs
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    right = program((inputs - mean) / std).argmax(1) == data.test.labels
    assert float(right.double().mean()) == pytest.approx(float(trial["accuracy/top1"]), abs=0.01)
    assert float(trial["accuracy/top1_dense"]) > 0.5


def best(text: str) -> dict[str, str]:
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["status"] for row in rows} == {"done"}
    return max(rows, key=lambda row: float(row["accuracy/top1"]))
