from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from shipped_trials import shipped_trials

from benchsuite_leaderboard import trials
from benchsuite_leaderboard.pages.addresses import slug, trial_id
from benchsuite_leaderboard.run_folders import (
    RunFolders,
    confusion,
    layers,
    picture,
    recovery_losses,
    tables,
)
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

    Make = Callable[..., TrialRecord]
    MakeMany = Callable[..., list[TrialRecord]]

KEY = "0123456789abcdef0123"
JPEG = b"\xff\xd8\xff\xe0 a picture"
LAYERS = "layer,units_dense,units,weights_dense,weights_nonzero\nconv1,16,4,144,36\nlinear,10,10,640,160\n"


def keyed(record: TrialRecord, key: str) -> TrialRecord:
    return type(record)(**{**vars(record), "key": key})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with all details of one trial."""
    folder = tmp_path / "run" / "stages" / KEY
    folder.mkdir(parents=True)
    (folder / "layers.csv").write_text(LAYERS, "utf-8")
    (folder / "recovery.json").write_text('{"losses": [0.5, 0.25], "steps": 4}', "utf-8")
    (folder / "confusion.csv").write_text("true \\ predicted,a,b\na,3,1\nb,0,4\n", "utf-8")
    (folder / "report-trees.csv").write_text('layer,note\n"a, b",<b>\nc,2.5\n', "utf-8")
    (folder / "detectors.jpg").write_bytes(JPEG)
    return tmp_path / "run"


@pytest.mark.parametrize("size", [1000, 10, 1])
def test_every_record_is_shipped_once(
    matrix: MakeMany, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trials, "SHARD", size)
    records = matrix()
    records[3].metrics["odd"] = float("nan")
    records[4].metrics["cost/macs"] = 123456789012.0
    render(records, tmp_path, title="demo")
    found = shipped_trials(tmp_path)
    # Two workloads with as many trials each, in shards of up to so many, and the index.
    assert len(list((tmp_path / "trials").iterdir())) == 1 + 2 * math.ceil(len(records) / 2 / size)
    assert set(found) == {trial_id(r.key) for r in records}
    for record in records:
        trial = found[trial_id(record.key)]
        assert (trial["key"], trial["status"], trial["axes"]) == (record.key, record.status, record.axes)
        assert trial["shared"]["provenance"] == record.provenance
        assert trial["shared"]["settings"] == record.settings
        assert trial["shared"]["criterion"][1] == slug(record.axes["scorer"])
        assert set(trial["metrics"]) == set(record.metrics)
        for name, value in record.metrics.items():
            if name == "odd":
                assert trial["metrics"][name] is None
            else:
                assert trial["metrics"][name] == pytest.approx(value, rel=1e-5)
    assert found[trial_id(records[4].key)]["metrics"]["cost/macs"] == 123456789012


def test_addresses_are_content_keys_or_hashes() -> None:
    assert trial_id(KEY) == KEY
    odd = [trial_id(key) for key in ("", "../../etc", KEY.upper(), KEY + "0", "\ud800", f"{KEY}\n")]
    assert len(set(odd)) == len(odd)
    assert all(len(address) == 20 and set(address) <= set("0123456789abcdef") for address in odd)


def test_a_run_directory_adds_what_only_it_keeps(record: Make, run: Path, tmp_path: Path) -> None:
    mine = keyed(record("a", 0.5, 0.9), KEY)
    mine.metrics["accuracy/class/cat"] = 0.75
    other = record("b", 0.5, 0.8)
    render([mine, other], tmp_path / "site", title="demo", sources=[tmp_path / "no.jsonl", run])
    found = shipped_trials(tmp_path / "site")
    trial = found[KEY]
    assert trial["layers"] == [["conv1", 16, 4, 144, 36], ["linear", 10, 10, 640, 160]]
    assert trial["losses"] == [0.5, 0.25]
    assert trial["confusion"] == [["a", "b"], [[3, 1], [0, 4]]]
    rows = [["a, b", "<b>"], ["c", "2.5"]]
    title = "Reported by the criterion: trees"
    assert trial["tables"] == [["report-trees.csv", title, ["layer", "note"], rows, 2]]
    assert trial["classes"] == {"accuracy/class/cat": 0.75}
    assert found[trial_id(other.key)]["classes"] == {}
    assert trial["pictures"] == ["detectors.jpg"]
    assert (tmp_path / "site" / "pictures" / f"{KEY}-detectors.jpg").read_bytes() == JPEG
    assert not {"kept", "layers", "pictures"} & set(found[trial_id(other.key)])


def test_what_a_run_directory_gains_or_loses_is_rendered(record: Make, run: Path, tmp_path: Path) -> None:
    records = [keyed(record("a", 0.5, 0.9), KEY)]
    site = tmp_path / "site"
    render(records, site, title="demo")
    assert "kept" not in shipped_trials(site)[KEY]
    render(records, site, title="demo", sources=[run])
    assert shipped_trials(site)[KEY]["pictures"] == ["detectors.jpg"]
    (site / "pictures" / "mine.jpg").write_bytes(JPEG)
    (run / "stages" / KEY / "detectors.jpg").unlink()
    render(records, site, title="demo", sources=[run])
    assert "pictures" not in shipped_trials(site)[KEY]
    assert [path.name for path in (site / "pictures").iterdir()] == ["mine.jpg"]


@pytest.mark.parametrize(
    "content",
    ["", "layer,units\nconv1,1\n", LAYERS.replace("16", "-16"), LAYERS.replace(",36", ""), "\0" * 9],
)
def test_damaged_layers_are_none(content: str, run: Path) -> None:
    folder = run / "stages" / KEY
    assert layers(folder) is not None
    (folder / "layers.csv").write_text(content, "utf-8")
    assert layers(folder) is None


@pytest.mark.parametrize("content", ["", "[1]", '{"losses": 3}', '{"losses": ["x"]}', "{"])
def test_damaged_recoveries_are_none(content: str, run: Path) -> None:
    folder = run / "stages" / KEY
    (folder / "recovery.json").write_text(content, "utf-8")
    assert recovery_losses(folder) is None


@pytest.mark.parametrize("content", ["", "x,a,b\na,1,2\n", "x,a,b\na,1,2\nb,1\n", "x,a,b\na,1,2\nb,1,c\n"])
def test_damaged_confusions_are_none(content: str, run: Path) -> None:
    folder = run / "stages" / KEY
    (folder / "confusion.csv").write_text(content, "utf-8")
    assert confusion(folder) is None


@pytest.mark.parametrize("content", ["", "\n", "a,b\n1\n", ",".join("a" * 31) + "\n", "\0" * 9 + "\n1,2"])
def test_damaged_tables_are_none(content: str, run: Path) -> None:
    folder = run / "stages" / KEY
    (folder / "report-trees.csv").write_text(content, "utf-8")
    assert tables(folder) is None


def test_of_reports_the_first_rows_are_shown_and_odd_names_are_none(run: Path) -> None:
    folder = run / "stages" / KEY
    (folder / "report-long.csv").write_text("a\n" + "1\n" * 70, "utf-8")
    (folder / "measured-tree-accuracy.v2-gains.csv").write_text("a\n1\n")
    odd = ("report-Big.csv", "report-.csv", "report-__proto__.csv", "report-a.csv.csv", "measured-a.csv")
    for name in odd:
        (folder / name).write_text("a\n1\n")
    assert [(title, len(rows), count) for _, title, _, rows, count in tables(folder) or ()] == [
        ("tree-accuracy.v2: gains", 1, 1),
        ("Reported by the criterion: long", 50, 70),
        ("Reported by the criterion: trees", 2, 2),
    ]


def test_pictures_of_metrics_are_copied_up_to_a_limit(
    record: Make, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, png = run / "stages" / KEY, b"\x89PNG\r\n\x1a\n" + bytes(50)
    for name in ("measured-a-b.png", "measured-a-c.png", "measured-a-d.png", "measured-A-b.png"):
        (folder / name).write_bytes(png)
    (folder / "measured-a-d.png").write_text("<svg onload=alert(1)>")
    monkeypatch.setitem(trials.PICTURE_BYTES, "", 60)
    render([keyed(record("a", 0.5, 0.9), KEY)], tmp_path / "site", title="demo", sources=[run])
    trial = shipped_trials(tmp_path / "site")[KEY]
    assert trial["pictures"] == ["detectors.jpg", "measured-a-b.png"]
    assert trial["elsewhere"] == ["measured-a-c.png", "measured-a-d.png"]
    assert (tmp_path / "site" / "pictures" / f"{KEY}-measured-a-b.png").read_bytes() == png


def test_only_pictures_are_copied(run: Path) -> None:
    folder = run / "stages" / KEY
    assert picture(folder, "detectors.jpg", 100) == JPEG
    assert picture(folder, "detectors.jpg", 5) is None
    assert picture(folder, "concepts.png", 100) is None
    (folder / "concepts.png").write_text("<script>", "utf-8")
    assert picture(folder, "concepts.png", 100) is None


def test_keys_that_are_none_lead_to_no_folder(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    assert RunFolders([run]).find(KEY) == run / "stages" / KEY
    for key in ("../../secret", "", ".", KEY.upper(), f"../stages/{KEY}"):
        assert RunFolders([run]).find(key) is None


def test_pictures_beyond_the_limit_stay_where_they_are(
    record: Make, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = [f"{number:020x}" for number in range(6)]
    for key in keys:
        (run / "stages" / key).mkdir()
        (run / "stages" / key / "detectors.jpg").write_bytes(JPEG)
    scorers = ["a", "a", "b", "b", "random", "reversed(a)"]
    records = [
        keyed(record(scorer, (0.5, 0.9)[i % 2], 0.9), key)
        for i, (scorer, key) in enumerate(zip(scorers, keys, strict=True))
    ]
    monkeypatch.setitem(trials.PICTURE_BYTES, "detectors.jpg", 2 * len(JPEG))
    render(records, tmp_path / "site", title="demo", sources=[run])
    found = shipped_trials(tmp_path / "site")
    # The two criteria at the same sparsity have pictures, not one criterion twice, or a control.
    assert [key for key in keys if "pictures" in found[key]] == [keys[0], keys[2]]
    assert all(found[key]["elsewhere"] == ["detectors.jpg"] for key in keys if "pictures" not in found[key])


def test_details_beyond_the_limit_are_left_out_and_said(
    record: Make, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trials, "DETAIL_LETTERS", 10)
    render([keyed(record("a", 0.5, 0.9), KEY)], tmp_path / "site", title="demo", sources=[run])
    trial = shipped_trials(tmp_path / "site")[KEY]
    assert trial["cut"] is True
    assert "layers" not in trial


def test_trials_that_filters_cannot_tell_apart_are_counted(record: Make, tmp_path: Path) -> None:
    records = [keyed(record("a", 0.5, 0.9, scorer_params={"k": k}), f"{k:020x}") for k in (1, 2)]
    records.append(keyed(record("a", 0.9, 0.8), KEY))
    render(records, tmp_path, title="demo")
    found = shipped_trials(tmp_path)
    assert [found[r.key].get("alike") for r in records] == [2, 2, None]


def test_hostile_text_is_cleaned_but_kept(record: Make, hostile: str, tmp_path: Path) -> None:
    made: dict[str, Any] = {hostile: hostile, "nested": {"deep": [hostile, float("inf"), None]}}
    broken = record(hostile, 0.5, None, model=hostile, error=hostile * 500, settings=made)
    broken.provenance.update(made)
    broken.metrics[hostile] = 1.0
    render([broken], tmp_path, title="demo")
    (trial,) = shipped_trials(tmp_path).values()
    shown = hostile.replace("\u202e", "\ufffd")
    assert trial["axes"]["scorer"] == shown
    assert trial["metrics"] == {shown: 1}
    assert trial["shared"]["provenance"]["nested"] == {"deep": [shown, None, None]}
    assert len(trial["error"]) < 4100
    script = (tmp_path / "trials" / "index.js").read_text("ascii")
    assert "<" not in script


def test_failed_trials_have_links(matrix: MakeMany, record: Make, tmp_path: Path) -> None:
    alone = record("delta", 0.5, None, error="alone")
    two = [record("delta", 0.9, None, seed=seed, error="twice") for seed in range(2)]
    render([*matrix(), alone, *two], tmp_path, title="demo")
    page = (tmp_path / "index.html").read_text("utf-8")
    for each in (alone, *two):
        assert f"trial.html#{trial_id(each.key)}" in page
