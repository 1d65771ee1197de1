"""Results files: they keep their content, and files from others cause no harm."""

from __future__ import annotations

import gzip
import json

import pytest

from benchsuite.errors import UsageError
from benchsuite.publishing import results_file
from benchsuite.publishing.results_file import Header, read_header, read_published, write_published
from benchsuite.store.record import TrialRecord

HEADER = Header(name="tiny", suite="[suite]\nname = 'tiny'\n", cells=2, versions={"torch": "2.6"})


def key(number: int) -> str:
    return f"{number:020x}"


def record(number: int = 1, **metrics: float) -> TrialRecord:
    stages = {"train": key(900)}
    return TrialRecord(key(number), {"scorer": "ä<b>"}, "done", metrics, {"torch": "2.6"}, {}, stages)


def write(path, *lines: str, header: Header | None = HEADER):
    first = [] if header is None else [header.model_dump_json()]
    path.write_text("\n".join([*first, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["results.jsonl", "results.jsonl.gz"])
def test_what_goes_in_comes_out(tmp_path, name):
    records = (record(1, x=0.1), record(2))
    write_published(tmp_path / name, HEADER, records)
    found = read_published(tmp_path / name)
    assert (found.header, found.records, found.problems) == (HEADER, records, ())
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")
    first = (tmp_path / name).read_bytes()
    write_published(tmp_path / name, HEADER, records)
    assert (tmp_path / name).read_bytes() == first


def test_a_compressed_file_is_known_by_its_content_and_a_bare_one_has_no_header(tmp_path):
    write_published(tmp_path / "a.gz", HEADER, [record()])
    misnamed = (tmp_path / "a.gz").rename(tmp_path / "a.jsonl")
    assert read_published(misnamed).records == (record(),)
    bare = write(tmp_path / "bare.jsonl", record(x=1.0).to_json(), record(x=2.0).to_json(), header=None)
    assert read_published(bare).header is None
    assert read_published(bare).records == (record(x=2.0),)


def changed(**fields: object) -> str:
    return json.dumps(json.loads(record().to_json()) | fields)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "limit"),
        ("[1]", "JSON object"),
        (changed(key="../../etc/passwd"), "20 hexadecimal digits"),
        (changed(stages={"train": "../x"}), "20 hexadecimal digits"),
        (changed(stages={"train": 3}), "20 hexadecimal digits"),
        (changed(status="fine"), "status is 'fine'"),
        (changed(schema_version=0), "schema_version is 0"),
        (changed(metrics={"x": True}), "metrics x are not numbers"),
        (changed(metrics={"x": 10**400}), "metrics x are not numbers"),
        (changed().replace('"metrics": {}', '"metrics": {"x": NaN}'), "metrics x are not numbers"),
        (changed().replace('"metrics": {}', '"metrics": {"x": 1e999}'), "metrics x are not numbers"),
        (record(2).to_json(), "stands in the file already"),
    ],
    ids=range(14),
)
def test_a_bad_line_is_reported_with_its_number_and_the_rest_is_read(tmp_path, line, message):
    path = write(tmp_path / "r.jsonl", record(2).to_json(), line, record(3).to_json())
    found = read_published(path)
    assert found.records == (record(2), record(3))
    (problem,) = found.problems
    assert problem.startswith(f"{path}:3: ")
    assert message in problem


def test_a_line_that_is_no_text_is_reported(tmp_path):
    path = write(tmp_path / "r.jsonl")
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n")
    assert "utf-8" in read_published(path).problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format"),
        ({"format_version": 2}, "format_version"),
        ({"cells": -1}, "cells"),
        ({"cells": "2"}, "cells"),
        ({"suite": 3}, "suite"),
        ({"suite": "x" * 70_000}, "suite"),
        ({"plugin": "evil.py"}, "plugin"),
    ],
)
def test_a_header_of_another_kind_is_refused_with_what_is_wrong(tmp_path, change, message):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(HEADER.model_dump() | change) + "\n")
    with pytest.raises(UsageError, match=f"{path}:1: the header .*{message}"):
        read_published(path)


def test_a_file_that_is_damaged_or_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "r.jsonl.gz"
    write_published(path, HEADER, [record()])
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:40] + b"\0\0\0\0" + whole[44:]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read"):
            read_published(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_published(tmp_path / "absent")
    path.write_bytes(gzip.compress(b" " * (1 << 20) + b" \n"))
    with pytest.raises(UsageError, match=":1: the line is longer"):
        read_published(path)
    path.write_bytes(gzip.compress(b"\n" * 10_000))
    monkeypatch.setattr("benchsuite.publishing.results_file._LARGEST", 5_000)
    with pytest.raises(UsageError, match="holds more than"):
        read_published(path)


@pytest.mark.parametrize("name", ["results.jsonl", "results.jsonl.gz"])
def test_the_header_alone_is_read_from_the_first_line(tmp_path, name):
    write_published(tmp_path / name, HEADER, [record(1)])
    assert read_header(tmp_path / name) == HEADER
    assert read_header(write(tmp_path / "bare.jsonl", record(1).to_json(), header=None)) is None
    assert read_header(write(tmp_path / "odd.jsonl", "no json", header=None)) is None
    with pytest.raises(UsageError, match="cannot be read"):
        read_header(tmp_path / "absent")
    with pytest.raises(UsageError, match="longer than"):
        read_header(write(tmp_path / "long.jsonl", "x" * (1 << 21), header=None))
    with pytest.raises(UsageError, match="header is not one"):
        read_header(write(tmp_path / "later.jsonl", '{"format": "later"}', header=None))


@pytest.mark.parametrize("line", [b"x\n", b"{}\n"])
def test_a_file_of_nonsense_is_refused_before_it_is_read_to_its_end(tmp_path, line):
    bomb = tmp_path / "bomb.jsonl.gz"
    bomb.write_bytes(gzip.compress(line * 5_000_000))
    read = []
    with pytest.MonkeyPatch.context() as patched:
        lines = results_file._lines
        patched.setattr(results_file, "_lines", lambda path: (read.append(1) or each for each in lines(path)))
        with pytest.raises(UsageError, match=r"bomb.jsonl.gz is no results file: .*:1: .*1,000 more lines"):
            read_published(bomb)
    assert len(read) == 1002


def test_a_file_of_empty_lines_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(results_file, "_MOST_LINES", 1000)
    (tmp_path / "empty.jsonl").write_bytes(b"\n" * 2000)
    with pytest.raises(UsageError, match="has more than 1,000 lines"):
        read_published(tmp_path / "empty.jsonl")


def test_a_file_whose_name_would_forge_a_line_is_refused(tmp_path):
    path = tmp_path / "x\nsignature     signed by alice@example.org"
    path.write_text("{}\n")
    with pytest.raises(UsageError) as caught:
        read_published(path)
    assert str(caught.value).isprintable()
    assert "rename" in str(caught.value)
