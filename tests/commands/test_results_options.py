"""`results` with means, order, filters and metrics, as a user calls it; numbers against sums written here."""

from __future__ import annotations

import csv
import io
import json
import statistics
from typing import TYPE_CHECKING, Any

import pytest

from benchsuite import cli
from benchsuite.store.keys import content_key
from benchsuite.store.record import TrialRecord
from benchsuite.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

SCORERS = {"snip": 0.8, "lamp": 0.6, "shuffled(snip)": 0.5}


def record(scorer: str, seed: int, draw: int, model: str, top1: float | None) -> TrialRecord:
    axes = {"dataset": "digits", "model": model, "seed": seed, "scorer": scorer, "scorer_params": {}}
    axes |= {"sparsity": 0.5, "draw": draw}
    name = content_key([scorer, seed, draw, model])
    if top1 is None:
        return TrialRecord(name, axes, "unsupported", error="it cannot")
    return TrialRecord(name, axes, "done", metrics={"accuracy/top1": top1, "cost/macs": 100.0 + len(model)})


def top1(scorer: str, seed: int, draw: int) -> float:
    return SCORERS[scorer] - seed / 10 + draw / 100


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("COLUMNS", raising=False)
    directory = RunDirectory(tmp_path)
    with directory.locked():
        for scorer in SCORERS:
            for seed in (0, 1, 2):
                for draw in (0, 1):
                    directory.append(record(scorer, seed, draw, "mlp", top1(scorer, seed, draw)))
        directory.append(record("apoz", 0, 0, "mlp", None))
    return tmp_path


def rows(capsys: Any, *words: object) -> list[dict[str, str]]:
    assert cli.main(["results", *map(str, words), "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_means_are_over_seeds_and_draws_are_averaged_before(run, capsys):
    found = {row["scorer"]: row for row in rows(capsys, run, "--by", "scorer")}
    for scorer in SCORERS:
        of_seeds = [statistics.mean(top1(scorer, seed, draw) for draw in (0, 1)) for seed in (0, 1, 2)]
        row = found[scorer]
        assert (row["seeds"], row["trials"], row["without"], row["uneven"]) == ("3", "6", "0", "0")
        assert float(row["accuracy/top1"]) == pytest.approx(sum(of_seeds) / 3)
        spread = sum((each - sum(of_seeds) / 3) ** 2 for each in of_seeds) / 2
        assert float(row["accuracy/top1/sd"]) == pytest.approx(spread**0.5)
    assert {n: found["apoz"][n] for n in ("seeds", "without", "accuracy/top1")} == {
        "seeds": "0",
        "without": "1",
        "accuracy/top1": "",
    }


def test_one_seed_has_no_deviation_and_uneven_seeds_are_marked(run, capsys):
    alone = rows(capsys, run, "--by", "scorer,seed", "--filter", "scorer=snip,seed=0")
    assert [row["accuracy/top1/sd"] for row in alone] == [""]

    def uneven() -> list[str]:
        return [row["uneven"] for row in rows(capsys, run, "--by", "scorer", "--filter", "scorer=snip,lamp")]

    assert uneven() == ["0", "0"]
    with RunDirectory(run).locked():
        RunDirectory(run).append(record("lamp", 3, 0, "mlp", 0.1))
    assert uneven() == ["1", "1"]  # snip lacks the seed, and lamp the other draw of it
    assert cli.main(["results", str(run), "--by", "scorer"]) == 0
    out = capsys.readouterr().out
    assert "* some seeds lack trials that others have" in out
    assert "± their standard deviation (n - 1)" in out
    assert "within each seed averaged over what also varies: draw" in out
    (lamp,) = (line.split() for line in out.splitlines() if line.split()[:1] == ["lamp"])
    assert lamp[1:3] == ["*", "4"]


def test_a_scorer_that_serves_a_part_of_the_networks_is_marked(run, capsys):
    with RunDirectory(run).locked():
        for scorer in ("snip", "lamp"):
            RunDirectory(run).append(record(scorer, 0, 0, "resnet", 0.9))
        RunDirectory(run).append(record("apoz", 0, 0, "resnet", 0.95))

    def partial(*by: str) -> dict[tuple[str, ...], str]:
        found = rows(capsys, run, "--by", ",".join(by))
        return {tuple(row[axis] for axis in by): row["partial"] for row in found}

    assert partial("scorer") == {("snip",): "0", ("lamp",): "0", ("shuffled(snip)",): "1", ("apoz",): "1"}
    assert set(partial("model").values()) == {"0"}
    by_model = partial("scorer", "model")
    assert by_model["apoz", "mlp"] == "1"  # it has no result there
    assert by_model["apoz", "resnet"] == by_model["snip", "mlp"] == "0"
    assert cli.main(["results", str(run), "--by", "scorer"]) == 0
    out = capsys.readouterr().out
    assert "† no result in some of the cells that other scorers have" in out
    (apoz,) = (line.split() for line in out.splitlines() if line.split()[:1] == ["apoz"])
    assert apoz[1:3] == ["†", "1"] if "*" not in apoz[1] else ["*†", "1"]


def test_json_of_means_has_the_same_numbers(run, capsys):
    as_csv = rows(capsys, run, "--by", "scorer", "--metrics", "accuracy/top1")
    assert (
        cli.main(["results", str(run), "--by", "scorer", "--format", "json", "--metrics", "accuracy/*"]) == 0
    )
    as_json = json.loads(capsys.readouterr().out)
    assert [each["axes"]["scorer"] for each in as_json] == [row["scorer"] for row in as_csv]
    for each, row in zip(as_json, as_csv, strict=True):
        means = each["metrics"].get("accuracy/top1", {"mean": "", "sd": ""})
        assert [str(means["mean"]), str(means["sd"])] == [row["accuracy/top1"], row["accuracy/top1/sd"]]


@pytest.mark.parametrize("words", [["--sort", "-accuracy/top1"], ["--sort=-accuracy/top1"]])
def test_rows_are_sorted_and_what_has_no_value_comes_last(run, capsys, words):
    values = [row["accuracy/top1"] for row in rows(capsys, run, *words)]
    numbers = [float(value) for value in values if value]
    assert numbers == sorted(numbers, reverse=True)
    assert values[-1] == ""
    rising = [row["accuracy/top1"] for row in rows(capsys, run, "--sort", "accuracy/top1")]
    assert rising[-1] == ""
    assert [float(value) for value in rising[:-1]] == sorted(numbers)


def test_the_first_name_of_an_order_decides_first(run, capsys):
    found = rows(capsys, run, "--sort", "scorer,-seed")
    assert [(row["scorer"], -int(row["seed"])) for row in found] == sorted(
        (row["scorer"], -int(row["seed"])) for row in found
    )
    by = rows(capsys, run, "--by", "scorer", "--sort", "-seeds,accuracy/top1")
    assert [row["scorer"] for row in by] == ["shuffled(snip)", "lamp", "snip", "apoz"]


@pytest.mark.parametrize(
    ("filters", "scorers"),
    [
        (["scorer=snip,lamp"], {"snip", "lamp"}),
        (["scorer=snip", "scorer=lamp"], {"snip", "lamp"}),
        (["scorer!=snip"], {"lamp", "shuffled(snip)", "apoz"}),
        (["scorer!=snip,lamp"], {"shuffled(snip)", "apoz"}),
        (["scorer=s*", "scorer!=snip"], {"shuffled(snip)"}),
        (["status=unsupported"], {"apoz"}),
        (["sparsity=0.50,status!=unsupported"], set(SCORERS)),
        (["scorer=shuffled(snip)"], {"shuffled(snip)"}),
    ],
)
def test_filters_choose_and_leave_out(run, capsys, filters, scorers):
    words = [word for text in filters for word in ("--filter", text)]
    assert {row["scorer"] for row in rows(capsys, run, *words)} == scorers


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--filter", "scorer=snpi"],
            5,
            "did you mean 'snip'? scorer is one of: snip, lamp, shuffled(snip), apoz",
        ),
        (["--filter", "seed=7"], 5, "no trial has seed=7; seed is one of: 0, 1, 2"),
        (["--filter", "scorer=apoz,seed=1"], 5, "each of the filters matches some trials, but none"),
        (["--filter", "scroer=snip"], 4, "there is no axis 'scroer'; did you mean 'scorer'?"),
        (["--filter", "snip"], 4, "'snip' is not AXIS=VALUE or AXIS!=VALUE"),
        (["--by", "sorcer"], 4, "--by: there is no axis 'sorcer'; did you mean 'scorer'?"),
        (["--by", ","], 4, "--by: no name is given"),
        (
            ["--metrics", "acuracy/top1"],
            4,
            "there is no metric 'acuracy/top1'; did you mean 'accuracy/top1'?",
        ),
        (["--metrics", "macs"], 4, "there is no metric 'macs'; did you mean 'cost/macs'?"),
        (["--sort", "-frob"], 4, "there is no 'frob' to sort by; there are: key, status, dataset"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(run, capsys, words, code, message):
    assert cli.main(["results", str(run), *words]) == code
    assert message in capsys.readouterr().err


def test_chosen_metrics_stand_in_the_order_asked(run, capsys):
    found = rows(capsys, run, "--metrics", "cost/macs,accuracy/*")
    assert list(found[0])[-3:] == ["cost/macs", "accuracy/top1", "error"]
    assert cli.main(["results", str(run), "--metrics", "cost/macs", "--format", "json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first["metrics"] == {"cost/macs": 103.0}
    assert set(first) == {"key", "axes", "status", "metrics", "error"}
    assert cli.main(["results", str(run), "--metrics", "cost/macs"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[-2:] == ["status", "cost/macs"]


def test_on_eighty_columns_a_row_is_a_line(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["--by", "scorer,sparsity"]):
        assert cli.main(["results", str(run), *words, "--filter", "scorer!=apoz"]) == 0
        lines = capsys.readouterr().out.splitlines()
        table = lines[: 1 + (3 if words else 18)]
        assert all(len(line) <= 80 for line in table)


def test_numbers_too_large_to_add_up_are_no_error(run, capsys):
    with RunDirectory(run).locked():
        for seed in (0, 1):
            RunDirectory(run).append(record("huge", seed, 0, "mlp", 1.7e308))
    (huge,) = rows(capsys, run, "--by", "scorer", "--filter", "scorer=huge")
    assert float(huge["accuracy/top1"]) == pytest.approx(1.7e308)


def test_a_results_file_is_read_as_the_run_that_it_was_packed_from(run, tmp_path, capsys):
    from benchsuite.publishing.results_file import Header, write_published

    records = RunDirectory(run).results().records
    file = tmp_path / "sent.jsonl.gz"
    write_published(file, Header(suite="", name="small", cells=len(records) + 2, versions={}), records)
    of_run, of_file = (rows(capsys, source, "--by", "scorer") for source in (run, file))
    assert of_file == of_run
    assert cli.main(["results", str(file)]) == 0
    assert "2 trials of the suite without an outcome yet" in capsys.readouterr().err


def test_what_is_no_results_file_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("not JSON\n")
    assert cli.main(["results", str(tmp_path / "notes.txt")]) == 4
    assert "notes.txt" in capsys.readouterr().err


@pytest.fixture
def cliff(run):
    """A scorer that is the best where it has results, and collapses at a higher sparsity."""
    with RunDirectory(run).locked():
        for scorer, at_half, at_ninety in (("steady", 0.9, 0.6), ("cliff", 0.95, None)):
            for seed in (0, 1, 2):
                RunDirectory(run).append(record(scorer, seed, 0, "resnet", at_half))
                made = record(scorer, seed, 0, "resnet", at_ninety)
                axes = {**made.axes, "sparsity": 0.9}
                key = content_key([made.key, 0.9])
                metrics = {**made.metrics, "cost/macs": 10.0} if made.metrics else {}
                RunDirectory(run).append(TrialRecord(key, axes, made.status, metrics, error=made.error))
    return run


def test_who_lacks_cells_that_others_have_comes_last_and_is_marked(cliff, capsys):
    only = ("--filter", "scorer=steady,cliff", "--sort", "-accuracy/top1")
    found = rows(capsys, cliff, "--by", "scorer", *only)
    assert [(row["scorer"], row["partial"]) for row in found] == [("steady", "0"), ("cliff", "1")]
    assert float(found[1]["accuracy/top1"]) > float(found[0]["accuracy/top1"])
    by_sparsity = rows(capsys, cliff, "--by", "scorer,sparsity", *only)
    assert [(row["scorer"], row["sparsity"]) for row in by_sparsity][:2] == [
        ("cliff", "0.5"),
        ("steady", "0.5"),
    ]
    by_name = rows(capsys, cliff, "--by", "scorer", "--filter", "scorer=steady,cliff", "--sort", "scorer")
    assert [row["scorer"] for row in by_name] == ["cliff", "steady"]


def test_the_metric_named_first_and_the_marks_stay_on_a_narrow_screen(cliff, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "28")
    for names in ("accuracy/top1,cost/macs", "cost/macs,accuracy/top1"):
        words = ["--by", "scorer", "--filter", "scorer=steady,cliff", "--metrics", names]
        assert cli.main(["results", str(cliff), *words]) == 0
        heading, *lines = capsys.readouterr().out.splitlines()
        assert names.partition(",")[0] in heading
        assert names.partition(",")[2] not in heading
        assert any(line.split()[:2] == ["cliff", "†"] for line in lines)


def test_metrics_can_be_called_as_the_table_calls_them(run, capsys):
    found = rows(capsys, run, "--metrics", "after,MACs", "--sort", "-after")
    assert [float(row["accuracy/top1"] or 0) for row in found] == sorted(
        (float(row["accuracy/top1"] or 0) for row in found), reverse=True
    )
    assert "cost/macs" in found[0]
