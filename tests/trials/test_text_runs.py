"""Runs of classifiers of texts from end to end: every place that takes inputs takes them by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from benchsuite import cli
from benchsuite.store.run_directory import RunDirectory
from benchsuite_scorers.registration import SCORERS

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

SUITE = """
[suite]
name = "texts"
seeds = [0]
sparsities = [0.4]
scorers = {scorers}
controls = {controls}

[[workload]]
dataset = {{ name = "word-order", samples = {samples} }}
models = [{{ name = "text-encoder", width = 20, hidden = 24 }}]

[training]
epochs = {epochs}

[pruning]
granularity = {granularity}
schedule = {schedule}
{rounds}
scope = "protected"
budget = "macs"

[recovery]
{recovery}

[scoring]
samples = 64

[metrics]
{metrics}
"""
EXPECTED = {
    "apoz": "is not exactly zero for negative input",
    "bn-scale": "no batch normalisation with a scale follows",
    "hrank": "all its units have the rank 1",
    "synflow": "which token ids and masks cannot be",
}
"""Criteria that cannot serve the network, and what they say."""


def run(folder: Path, name: str, **settings: Any) -> list[TrialRecord]:
    defaults = {"scorers": '["magnitude-l2", "taylor-activation"]', "samples": 200, "epochs": 1}
    defaults |= {"controls": '["random", "scratch"]', "recovery": "epochs = 0.5", "rounds": ""}
    defaults |= {"granularity": '"unit"', "schedule": '"one-shot"', "metrics": "latency = false"}
    (folder / f"{name}.toml").write_text(SUITE.format(**{**defaults, **settings}))
    assert cli.main(["run", str(folder / f"{name}.toml"), "--output", str(folder / name), "--jobs", "1"]) == 0
    return list(RunDirectory(folder / name).results().records)


def numbers(records: list[TrialRecord]) -> dict[str, dict[str, float]]:
    """What a run must find again: all but durations and memory."""
    return {
        record.key: {n: v for n, v in record.metrics.items() if not n.startswith(("time/", "memory/"))}
        for record in records
    }


@pytest.mark.slow
def test_a_run_its_repetition_and_what_it_exports(tmp_path: Path) -> None:
    metrics = 'latency = { batch_sizes = [1, 3] }\ndissection = { concepts = "shapes" }'
    records = run(tmp_path, "first", metrics=metrics)
    assert {record.status for record in records} == {"done"}
    for record in records:
        reason = record.provenance["dissection"]["unsupported"]
        assert "needs a network for images; this one's inputs come by name" in reason
        assert record.metrics["latency/batch3_ms"] > 0
        assert record.metrics["sparsity/macs"] >= 0.4 - 0.1
    again = run(tmp_path, "second")
    timed = {key: {n: v for n, v in m.items() if "latency" not in n} for key, m in numbers(records).items()}
    assert list(timed.values()) == list(numbers(again).values())

    exported = tmp_path / "exported"
    assert cli.main(["export", str(tmp_path / "first"), records[0].key, "--output", str(exported)]) == 0
    program = torch.export.load(exported / "model.pt2").module()
    ids = torch.tensor([[2, 3, 9, 4, *[0] * 12], [2, 9, 4, 3, *[0] * 12], [2, *[5] * 15]])
    with torch.no_grad():
        scores = program(input_ids=ids, attention_mask=(ids != 0).long())
    assert scores.shape == (3, 4)
    history = json.loads((exported / "pruning.json").read_text())
    assert history["input"] == {
        "tensors": {name: {"shape": [16], "type": "int64"} for name in ("input_ids", "attention_mask")},
        "tokens": {"vocabulary": 64, "padding": 0, "ids": "input_ids", "mask": "attention_mask", "words": []},
    }
    assert (
        "logits = model(input_ids=input_ids, attention_mask=attention_mask)"
        in (exported / "README.md").read_text()
    )


@pytest.mark.slow
def test_every_criterion_serves_it_or_says_why_not(tmp_path: Path) -> None:
    cheap = {"shapley": "permutations = 2", "obd": "probes = 8, fewest = 4"}
    names = [json.dumps(scorer.name) for scorer in SCORERS if scorer.name not in {*cheap, "random"}]
    tables = [f'{{ name = "{name}", {setting} }}' for name, setting in cheap.items()]
    scorers = f"[{', '.join([*names, *tables])}]"
    records = run(
        tmp_path, "all", scorers=scorers, granularity='["unit", "weight"]', samples=120, controls="[]"
    )
    for record in records:
        scorer = record.axes["scorer"].partition("(")[0]
        if record.status == "unsupported":
            whole = record.axes["granularity"] == "weight" and "scores whole units" in (record.error or "")
            assert whole or EXPECTED[scorer] in (record.error or "")
        else:
            assert record.status == "done", (scorer, record.error)
    assert {record.axes["scorer"] for record in records} > EXPECTED.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "recovery"), [("iterative", "epochs = 0.5"), ("at-init", ""), ("rewind", "")]
)
def test_every_schedule_takes_texts(tmp_path: Path, schedule: str, recovery: str) -> None:
    rounds = "rounds = 2" if schedule == "iterative" else ""
    records = run(
        tmp_path, "run", schedule=f'"{schedule}"', recovery=recovery, rounds=rounds, controls='["random"]'
    )
    assert {record.status for record in records} == {"done"}, [record.error for record in records]
