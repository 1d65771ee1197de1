"""`submit` and `verify` as users call them: a run is packed, checked, run again, and manipulated."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from markupsafe import escape

from benchsuite.cli import main
from benchsuite.registry.discovery import discover

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
[suite]
name = "small"
description = "See /etc/hosts and ../x, which are no parameters."
seeds = [0]
sparsities = [0.4, 0.7]
scorers = ["all"]
controls = ["random", { name = "reversed", of = ["magnitude-l1"] }]

[[workload]]
dataset = "digits"
models = [{ name = "mlp", hidden = [16], activation = "relu" }]

[training]
epochs = 1

[recovery]
epochs = 0.5

[metrics]
latency = false
"""


def benchsuite(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchsuite.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("submit")
    # "all" means fewer scorers here, to save time, as on a machine with fewer plugins.
    (folder / "small.toml").write_text(SUITE.replace('"all"', '"magnitude-l1", "magnitude-l2"'))
    result = benchsuite("run", "small.toml", cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    suite = folder / "runs/small/suite.toml"
    both = '"magnitude-l1",\n    "magnitude-l2",'
    assert both in suite.read_text()
    suite.write_text(suite.read_text().replace(both, '"all",'))
    return folder


@pytest.fixture(scope="module")
def packed(finished) -> Path:
    result = benchsuite("submit", "runs/small", cwd=finished)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "small.jsonl.gz: 12 trials" in result.stdout
    assert "benchsuite verify small.jsonl.gz" in result.stdout
    return finished / "small.jsonl.gz"


@pytest.mark.slow
def test_a_run_that_is_packed_passes_and_repeats_itself(finished, packed):
    result = benchsuite("verify", "small.jsonl.gz", "--rerun", "2", cwd=finished)
    assert result.returncode == 0, result.stdout + result.stderr
    for line in ("schema        ok", "completeness  ok", "provenance    ok", "plausibility  ok"):
        assert line in result.stdout
    assert "all as here" in result.stdout
    assert "2 trials with the same outcome, 2 of them exactly" in result.stdout
    assert "chance        of a forged cell among the 2: 16.7% if 1 of 12 is forged, 31.8% if 2 (10%) are" in (
        result.stdout
    )


def test_nothing_is_overwritten_and_an_unfinished_run_is_not_packed(finished, packed, tmp_path):
    result = benchsuite("submit", "runs/small", cwd=finished)
    assert result.returncode == 4
    assert "not overwritten" in result.stderr
    run = tmp_path / "run"
    run.mkdir()
    for name in ("suite.toml", "plan.json"):
        (run / name).write_bytes((finished / "runs/small" / name).read_bytes())
    lines = (finished / "runs/small/results.jsonl").read_text().splitlines(keepends=True)
    (run / "results.jsonl").write_text("".join(lines[:-1]))
    result = benchsuite("submit", "run", cwd=tmp_path)
    assert result.returncode == 1
    assert "1 trial of the suite without an outcome yet" in result.stdout
    assert not list(tmp_path.glob("*.gz"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "small"', "", "it has no 'name'"),
        ('name = "small"', "name = 3", "the name must be letters"),
        ('name = "small"', 'name = "../../elsewhere"', "the name must be letters"),
        ("[suite]", "[sweet]", "it has no 'name'"),
        ('"all",', "[1],", ""),
        ('"all",', "{},", "it has no 'name'"),
    ],
)
def test_a_suite_that_somebody_changed_is_told_and_becomes_no_path(
    finished, tmp_path, capsys, monkeypatch, old, new, message
):
    run = shutil.copytree(finished / "runs/small", tmp_path / "deep/er/run")
    text = (run / "suite.toml").read_text()
    assert old in text
    (run / "suite.toml").write_text(text.replace(old, new, 1))
    monkeypatch.chdir(tmp_path / "deep/er")
    assert main(["submit", "run"]) == (4 if message else 0)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.gz"))


def tampered(packed: Path, target: Path, change) -> Path:
    """A copy whose header and records were changed by `change`."""
    header, *records = map(json.loads, gzip.decompress(packed.read_bytes()).splitlines())
    records = change(header, records) or records
    target.write_text("".join(json.dumps(line) + "\n" for line in (header, *records)))
    return target


def set_metric(name: str, value: float):
    def change(header, records):
        for record in records:
            record["metrics"][name] = value

    return change


def in_suite(old: str, new: str):
    def change(header, records):
        assert old in header["suite"]
        header["suite"] = header["suite"].replace(old, new)

    return change


def without_a_record(header, records):
    header["cells"] -= 1
    return records[1:]


def without_devices(header, records):
    for record in records:
        del record["provenance"]["device"]


def with_keys_exchanged(header, records):
    one, other = records[:2]
    one["key"], other["key"] = other["key"], one["key"]
    for record in (one, other):
        record["stages"]["trial"] = record["key"]


def escaping(header, records):
    records[0]["axes"]["scorer"] = "\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_metric("accuracy/top1", 1.2), "accuracy is no fraction"),
        (without_a_record, "1 x cells of the suite have no record"),
        (without_devices, "provenance lacks device"),
        (escaping, "is no cell of the suite"),
        (with_keys_exchanged, "2 x has the key of another cell of the suite"),
        (in_suite('name = "mlp"', 'name = "no-such"'), "not here: model no-such"),
        (
            in_suite('name = "mlp"', 'weights = "/etc/passwd"\nname = "mlp"'),
            "names a file on its author's machine",
        ),
        (in_suite("[recovery]", "[recovery"), "is not valid TOML"),
        (
            in_suite("seeds = [", f"seeds = [{', '.join(map(str, range(1, 2000)))},"),
            "spans up to 24000 cells",
        ),
        (lambda header, records: records[1:], "should hold 12 records, and holds 11"),
        (lambda header, records: header.clear() or header.update(records[0]), "has no header line"),
    ],
)
def test_what_was_tampered_with_is_found(packed, tmp_path, change, message, capsys):
    path = tampered(packed, tmp_path / "t.jsonl", change)
    code = main(["verify", str(path)])
    output, errors = capsys.readouterr()
    assert code == 1
    assert message in output
    assert "\x1b" not in output
    assert errors == ""


@pytest.mark.slow
def test_a_number_that_was_made_up_does_not_come_out_again(packed, tmp_path):
    def flatter(header, records):
        for record in records:
            record["metrics"]["accuracy/top1_before_recovery"] = 1.0

    tampered(packed, tmp_path / "t.jsonl", flatter)
    result = benchsuite("verify", "t.jsonl", "--rerun", "1", cwd=tmp_path)
    assert result.returncode == 1
    assert "plausibility  ok" in result.stdout
    assert "1 x accuracy/top1_before_recovery differs: " in result.stdout


@pytest.mark.slow
def test_a_loss_that_was_changed_a_little_is_named(packed, tmp_path):
    """Within the tolerance of another machine, but not what this one computes."""

    def flatter(header, records):
        for record in records:
            record["metrics"]["accuracy/loss"] *= 0.99

    tampered(packed, tmp_path / "t.jsonl", flatter)
    result = benchsuite("verify", "t.jsonl", "--rerun", "1", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "plausibility  ok" in result.stdout
    assert "1 trial with the same outcome, 0 of them exactly" in result.stdout
    assert "warning       1 value within the tolerance, or without one, and yet not the same" in result.stdout
    assert "accuracy/loss is not the same: digits · mlp" in result.stdout


@pytest.fixture
def of_a_plugin_file(finished, tmp_path) -> Path:
    """A run directory in which a scorer of a plugin file took the place of another."""
    run = shutil.copytree(finished / "runs/small", tmp_path / "run")
    for file in (run / "results.jsonl", run / "suite.toml", run / "plan.json"):
        text = file.read_text().replace('"all"', '"magnitude-l1", "magnitude-l2"')
        file.write_text(text.replace("magnitude-l2", "of-a-file"))
    return run


def test_without_the_plugin_file_of_a_run_what_can_be_checked_is(of_a_plugin_file, tmp_path, capsys):
    file = tmp_path / "sent.jsonl.gz"
    assert main(["submit", str(of_a_plugin_file), "--output", str(file)]) == 0
    told = f"check it with: benchsuite verify {file} --plugin FILE, the plugin file of scorer of-a-file"
    assert told in capsys.readouterr().out
    assert main(["verify", str(file), "--rerun", "1"]) == 1
    said = capsys.readouterr().out
    for line in ("schema        ok", "completeness  not checked", "provenance    ok", "plausibility  ok"):
        assert line in said
    assert said.count("of-a-file") == 1
    assert "not here: scorer of-a-file" in said
    assert "--plugin FILE" in said


def test_the_plausibility_is_checked_without_the_plugin_file_too(of_a_plugin_file, tmp_path, capsys):
    results = of_a_plugin_file / "results.jsonl"
    results.write_text(re.sub(r'"accuracy/top1": ?[0-9.]+', '"accuracy/top1": 1.5', results.read_text()))
    file = tmp_path / "sent.jsonl.gz"
    assert main(["submit", str(of_a_plugin_file), "--output", str(file)]) == 0
    capsys.readouterr()
    assert main(["verify", str(file)]) == 1
    assert "plausibility  ok" not in capsys.readouterr().out


def test_a_file_that_is_not_there_is_bad_usage(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "absent.jsonl")]) == 4
    assert "there is no results file" in capsys.readouterr().err


def test_a_site_is_made_of_a_run_and_a_results_file(finished, packed):
    def flatter(header, records):
        records[0]["metrics"]["accuracy/top1"] = 0.5

    tampered(packed, finished / "other.jsonl", flatter)
    command = ("leaderboard", "runs/small", "small.jsonl.gz", "other.jsonl", "--output", "site")
    result = benchsuite(*command, cwd=finished)
    assert result.returncode == 0, result.stdout + result.stderr
    page = (finished / "site/index.html").read_text()
    assert "runs/small and other.jsonl disagree on the trial digits" in page
    assert "runs/small is shown, as it was named first" in page
    assert "small.jsonl.gz:" not in page
    for name in ("small.jsonl.gz", "other.jsonl"):
        assert f"<li><bdi>{name}</bdi>: <bdi>not signed: there is no {name}.sig</bdi></li>" in page
    about = next((finished / "site/criteria").glob("magnitude-l1-*.html")).read_text()
    registry, _ = discover()
    (summary,) = (info.summary for info in registry.infos if info.name == "magnitude-l1")
    assert f'<p class="lead">{escape(summary)}</p>' in about
    control = next((finished / "site/criteria").glob("reversed-magnitude-l1-*.html")).read_text()
    assert f"<bdi>magnitude-l1</bdi>: {escape(summary)}</p>" in control


def test_it_is_said_that_keys_sign_nothing_and_what_would_show_it(packed, capsys):
    assert main(["verify", str(packed)]) == 0
    output = capsys.readouterr().out
    assert "it signs no number" in output
    assert "run again     nothing: whether the numbers were measured, only --rerun N shows" in output
    assert "chance of a forged cell among --rerun 12: 100.0% if 1 of 12 is forged" in output


@pytest.fixture(scope="module")
def signed(finished) -> Path:
    """A packed run that was signed, with its key and lists of signers beside it."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed; it comes with OpenSSH")
    for name in ("alice", "bob"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", finished / name], check=True)
        public = (finished / f"{name}.pub").read_text()
        (finished / f"{name}.signers").write_text(f"{name}@example.org {public}")
    command = ("submit", "runs/small", "--output", "signed.jsonl.gz", "--sign", "alice")
    result = benchsuite(*command, cwd=finished)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "signed.jsonl.gz.sig: a valid signature by the ED25519 key SHA256:" in result.stdout
    return finished / "signed.jsonl.gz"


def test_verify_says_who_signed(signed, capsys):
    folder = signed.parent
    for signers, said in (
        ([], "signature     a valid signature by the ED25519 key SHA256:"),
        (
            ["--signers", str(folder / "alice.signers")],
            "signature     signed by alice@example.org (ED25519 key",
        ),
        (
            ["--signers", str(folder / "bob.signers")],
            "by a key that the list of signers does not allow: ED25519",
        ),
    ):
        assert main(["verify", str(signed), *signers]) == 0
        assert said in capsys.readouterr().out


def test_a_signature_can_be_required(signed, packed, capsys):
    alice, bob = (str(signed.parent / f"{name}.signers") for name in ("alice", "bob"))
    assert main(["verify", str(signed), "--require-signature", "--signers", alice]) == 0
    assert "is required" not in capsys.readouterr().out
    for path, signers in ((signed, bob), (packed, alice)):
        assert main(["verify", str(path), "--require-signature", "--signers", signers]) == 1
        assert f"a signature by one of {signers} is required" in capsys.readouterr().out
    assert main(["verify", str(signed), "--require-signature"]) == 4
    assert "--signers" in capsys.readouterr().err


def test_a_signature_of_another_file_is_a_problem(signed, packed, tmp_path, capsys):
    path = tampered(signed, tmp_path / "t.jsonl", lambda header, records: records)
    signature = path.with_name("t.jsonl.sig")
    signature.write_bytes(signed.with_name(f"{signed.name}.sig").read_bytes())
    assert main(["verify", str(path), "--signers", str(signed.parent / "alice.signers")]) == 1
    output = capsys.readouterr().out
    assert "plausibility  ok" in output
    assert "signature     bad signature: t.jsonl.sig is none of this file" in output
    signature.unlink()
    assert main(["verify", str(path)]) == 0
    assert main(["verify", str(path), "--signers", str(tmp_path / "absent")]) == 4
    assert "the list of signers" in capsys.readouterr().err


def test_what_cannot_be_signed_is_not_written(finished, signed, tmp_path, capsys):
    new = tmp_path / "new.jsonl"
    run = str(finished / "runs/small")
    assert main(["submit", run, "--output", str(new), "--sign", str(tmp_path / "absent")]) == 4
    assert "there is no key file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    new.with_name("new.jsonl.sig").write_text("of an earlier file")
    assert main(["submit", run, "--output", str(new)]) == 4
    assert "not overwritten: " in capsys.readouterr().err
    assert not new.exists()


def test_the_site_shows_who_signed(signed, packed, tmp_path):
    signers = str(signed.parent / "alice.signers")
    site = tmp_path / "site"
    assert main(["leaderboard", str(signed), str(packed), "--signers", signers, "--output", str(site)]) == 0
    page = (site / "index.html").read_text()
    assert "<bdi>signed.jsonl.gz</bdi>: <bdi>signed by alice@example.org (ED25519 key SHA256:" in page
    assert "<bdi>small.jsonl.gz</bdi>: <bdi>not signed: there is no small.jsonl.gz.sig</bdi>" in page


def test_a_file_with_a_bad_signature_is_left_out_of_the_site(signed, packed, tmp_path, capsys):
    """Named first, its records would be the ones that are shown."""

    def flatter(header, records):
        for record in records:
            record["metrics"]["accuracy/top1"] = 0.987654

    forged = tampered(signed, tmp_path / "forged.jsonl", flatter)
    forged.with_name("forged.jsonl.sig").write_bytes(signed.with_name(f"{signed.name}.sig").read_bytes())
    site = tmp_path / "site"
    assert main(["leaderboard", str(forged), str(packed), "--output", str(site)]) == 1
    output, errors = capsys.readouterr()
    assert output == f"{site / 'index.html'}\n"
    said = f"{forged} is left out: bad signature: forged.jsonl.sig is none of this file"
    assert errors.startswith(said)
    page = (site / "index.html").read_text()
    notices = page[: page.index("<main")]
    assert f'<p class="notice"><bdi>{escape(said)}' in notices
    assert "disagree" not in page
    assert "0.987654" not in (site / "results.csv").read_text()
    assert main(["leaderboard", str(forged), "--output", str(tmp_path / "none")]) == 1
    assert "There are no results yet" in (tmp_path / "none/index.html").read_text()


@pytest.mark.parametrize(
    "content",
    [b"", b"just junk\n", gzip.compress(b"just junk\n"), b"\x1f\x8bjunk"],
    ids=["empty", "plain", "compressed", "half"],
)
def test_a_site_is_not_made_of_junk(tmp_path, capsys, content):
    junk = tmp_path / "junk.jsonl.gz"
    junk.write_bytes(content)
    assert main(["leaderboard", str(junk), "--output", str(tmp_path / "site")]) == 4
    assert f"{junk} " in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
