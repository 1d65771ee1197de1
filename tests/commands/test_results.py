"""The table of `benchsuite results`: the columns that distinguish its rows."""

from __future__ import annotations

import pytest

from benchsuite import cli
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import RunDirectory

AXES = {"dataset": "digits", "model": "mlp", "seed": 0, "scorer": "a", "sparsity": 0.5, "draw": 0}


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run side by side have one, to which the table would be fitted."""
    monkeypatch.delenv("COLUMNS", raising=False)


def test_numbers_that_are_less_certain_than_they_look_are_marked_and_explained(tmp_path, capsys):
    wide = {
        "cost/macs": 12345.0,
        "cost/uncounted_modules": 1.0,
        "latency/batch1_speedup": 1.5,
        "latency/batch1_speedup_low": 1.2,
        "latency/batch1_speedup_high": 1.9,
        "latency/batch1_speedup_wide": 1.0,
        "latency/batch1_threads4_speedup": 2.25,
        "latency/batch1_threads4_speedup_wide": 0.0,
    }
    narrow = {**wide, "cost/uncounted_modules": 0.0, "latency/batch1_speedup_wide": 0.0}
    run = RunDirectory(tmp_path)
    for name, metrics, provenance in (
        ("ab", wide, {"uncounted_modules": ["stem: aten._fft_r2c"]}),
        ("cd", narrow, {}),
    ):
        with run.locked():
            run.append(
                TrialRecord(key=name * 10, axes=AXES, status="done", metrics=metrics, provenance=provenance)
            )
    assert cli.main(["results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    heading, first, second, *rest = [line.split() for line in out.splitlines() if line.strip()]
    assert heading[-2:] == ["batch1_speedup", "batch1_threads4_speedup"]
    assert first[-3:] == ["≥12,345", "~1.50", "2.25"]
    assert second[-3:] == ["12,345", "1.50", "2.25"]
    assert [line[0] for line in rest] == ["≥", "~"]
    assert "lower bound: what may multiply and has no formula is stem: aten._fft_r2c" in out


def test_the_table_shows_keys_and_the_axes_that_vary(tmp_path, capsys):
    axes = {
        "dataset": "digits",
        "model": "mlp",
        "seed": 0,
        "scorer": "[bold]mine[/bold]",
        "scorer_params": {},
        "scope": "layer",
        "sparsity": 0.5,
        "draw": 0,
    }
    records = [
        TrialRecord(key=key * 10, axes={**axes, "granularity": granularity}, status="done")
        for key, granularity in (("ab", "unit"), ("cd", "weight"))
    ]
    run = RunDirectory(tmp_path)
    with run.locked():
        for record in records:
            run.append(record)
    assert cli.main(["results", str(tmp_path)]) == 0
    heading, *rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert heading[:7] == ["key", "dataset", "model", "seed", "scorer", "granularity", "sparsity"]
    assert "scope" not in heading
    assert [row[0] for row in rows] == ["abababab", "cdcdcdcd"]
    assert [row[5] for row in rows] == ["unit", "weight"]
    assert {row[4] for row in rows} == {"[bold]mine[/bold]"}
