"""The table of `benchsuite results`: the columns that distinguish its rows."""

from __future__ import annotations

from benchsuite import cli
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import RunDirectory


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
