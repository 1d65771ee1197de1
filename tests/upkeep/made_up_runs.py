"""Run directories without a run: whole stages of every kind, and records that refer to them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import torch

from benchsuite.metrics.network_cost import Cost
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import Cell, RunDirectory
from benchsuite.store.stages import Facts, Stage, content_digest, save_tensors
from benchsuite.trials.facts import (
    DataFacts,
    DenseFacts,
    DissectionFacts,
    PrunedFacts,
    ScoreFacts,
    TraceFacts,
)


def made_up_key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20]


SCORERS = ("first", "second")
SCORE = {scorer: made_up_key(f"scores of {scorer}") for scorer in (*SCORERS, "third")}
TRIAL = {scorer: made_up_key(f"trial of {scorer}") for scorer in SCORERS}
DATA, TRAIN, TRACE, DISSECTION = map(made_up_key, ("data", "train", "trace", "dissection"))
LONELY, HALF, OTHER_DISSECTION, PENDING = map(made_up_key, ("lonely", "half", "other", "pending"))
ARTIFACTS = ("recovery.json", "layers.csv", "confusion.csv", "confusion.svg")


def axes(scorer: str) -> dict[str, Any]:
    return {
        "dataset": "digits",
        "model": "mlp",
        "seed": 0,
        "scorer": scorer,
        "scorer_params": {},
        "granularity": "unit",
        "scope": "protected",
        "budget": "macs",
        "schedule": "one-shot",
        "recovery_epochs": 2.0,
        "sparsity": 0.5,
        "draw": 0,
    }


def stages_of(scorer: str) -> dict[str, str]:
    return {"data": DATA, "train": TRAIN, "score": SCORE[scorer], "trace": TRACE}


def complete(folder: Path, facts: Facts, names: tuple[str, ...], made_from: str = "") -> str:
    """Make a whole stage and return what identifies its numbers."""
    folder.mkdir(parents=True)
    for position, name in enumerate(names):
        save_tensors(folder / name, {"values": torch.arange(300.0) + position + sum(folder.name.encode())})
    (folder / ".lock").touch()
    Stage(folder, type(facts), names, made_from).complete(facts)
    content = content_digest(folder)
    assert content
    return content


def make_run(path: Path, *, pending: bool = False) -> RunDirectory:
    """A run of two finished trials on one dense model, and perhaps of a third that was not run yet."""
    run = RunDirectory(path)
    path.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(run.path / "mlflow.db")) as store:
        store.execute("CREATE TABLE experiments AS SELECT 0 AS experiment_id")
        store.commit()
    run.suite_file.write_text(
        '[suite]\nname = "made up"\n[metrics]\ndissection = { concepts = "shapes" }\n'
        '[[workload]]\ndataset = "digits"\nmodels = ["mlp"]\n'
    )
    data = complete(
        run.stage(DATA),
        DataFacts(classes=("a", "b"), mean=(0.0,), std=(1.0,), augmentation={}, digest="d"),
        ("data.safetensors",),
    )
    cost = Cost(10, 20, 10, 20, 30, ())
    dense = complete(
        run.stage(TRAIN),
        DenseFacts(
            top1=0.9,
            loss=0.1,
            recall={"a": 1.0, "b": None},
            confusion=[[1, 0], [0, 1]],
            train_seconds=1.0,
            cost=cost,
            file_bytes=10,
            data_digest="d",
            device="cpu",
        ),
        ("model.safetensors",),
        data,
    )
    (run.stage(TRAIN) / "training.json").write_text('{"losses": [1.0]}')
    (run.stage(TRAIN) / "tables").mkdir()
    (run.stage(TRAIN) / "tables/abc.npy").write_bytes(b"x" * 5000)
    complete(run.stage(TRACE), TraceFacts(), ("trace.safetensors",), dense)
    complete(run.stage(DISSECTION), DissectionFacts(), ("dissection.npz",), dense)
    for scorer in SCORERS:
        facts = ScoreFacts(seconds=1.0, peak_memory_mb=1.0, ties=0, skipped={}, merges={})
        score = complete(run.stage(SCORE[scorer]), facts, ("scores.safetensors",), dense)
        folder = run.stage(TRIAL[scorer])
        pruned = PrunedFacts(axes=axes(scorer), removed={"a": (0,)})
        complete(folder, pruned, ("model.safetensors", "outputs.safetensors"))
        for name in ARTIFACTS:
            (folder / name).write_text(f"{name} of {scorer}")
        (folder / "worker.log").write_text("it said something\n")
        known = {"trial": folder.name, "train_content": dense, "score_content": score}
        run.append(
            TrialRecord(
                folder.name, axes(scorer), "done", {"accuracy/top1": 0.5}, stages=stages_of(scorer) | known
            )
        )
    cells = [Cell(TRIAL[scorer], axes(scorer), stages_of(scorer)) for scorer in SCORERS]
    if pending:
        cells.append(Cell(PENDING, axes("third"), stages_of("third")))
    run.write_plan(cells)
    (path / ".lock").touch()
    return run


def snapshot(folder: Path) -> dict[bytes, Any]:
    """Everything below a folder: kind, time of the last change, and content or target."""
    found: dict[bytes, Any] = {}
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files, "."):
            path = Path(where) / name
            status = path.lstat()
            what: Any = None
            if path.is_symlink():
                what = path.readlink()
            elif path.is_file() and status.st_size < 1 << 24:
                what = path.read_bytes()
            found[os.fsencode(path)] = (status.st_mode, status.st_mtime_ns, status.st_size, what)
    return found


def without_times(seen: dict[bytes, Any]) -> dict[bytes, Any]:
    """A snapshot without times: whoever takes the lock tries whether the folder of stages can be written."""
    return {path: (mode, size, what) for path, (mode, _, size, what) in seen.items()}


def rewrite(folder: Path, **changes: Any) -> None:
    """Change a stage's `stage.json` so that its checksum is right again."""
    from benchsuite.store.keys import content_key

    stored = json.loads((folder / "stage.json").read_text()) | changes
    del stored["checksum"]
    stored["checksum"] = content_key(stored)
    (folder / "stage.json").write_text(json.dumps(stored))
