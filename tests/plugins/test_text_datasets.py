"""Data sets of texts: made-up ones against counts of their own, a folder's against a second tokeniser."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import benchsuite
from benchsuite.training.data_checks import checked
from benchsuite_datasets._labelled_texts import vocabulary_of, words_of
from benchsuite_datasets.text_folder import TextFolder
from benchsuite_datasets.word_order import WordOrder

NOWHERE = Path("/nowhere")
SPLITS = ("train", "validation", "test")


def parts_of(data: benchsuite.Dataset, split: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    samples = getattr(data, split)
    return samples.inputs["input_ids"], samples.inputs["attention_mask"], samples.labels


@pytest.fixture(scope="module")
def made() -> benchsuite.Dataset:
    return checked(WordOrder().load(NOWHERE))


def test_made_up_texts_are_the_same_each_time(made: benchsuite.Dataset) -> None:
    again = checked(WordOrder().load(NOWHERE))
    for split in SPLITS:
        for one, other in zip(parts_of(made, split), parts_of(again, split), strict=True):
            assert torch.equal(one, other)
    assert [len(getattr(made, split)) for split in SPLITS] == [1440, 160, 400]


@pytest.mark.parametrize("split", SPLITS)
def test_the_class_is_topic_and_order(made: benchsuite.Dataset, split: str) -> None:
    ids, mask, labels = parts_of(made, split)
    for text, kept, label in zip(ids.tolist(), mask.tolist(), labels.tolist(), strict=True):
        length = sum(kept)
        assert kept == [1] * length + [0] * (16 - length)
        assert 8 <= length <= 16
        assert text[0] == 2
        assert text[length:] == [0] * (16 - length)
        words = text[1:length]
        assert words.count(3) == words.count(4) == 1
        assert (words.index(3) > words.index(4)) == label % 2
        topics = {(word - 5) // 4 for word in words if 5 <= word < 13}
        assert topics <= {label // 2}
    assert Counter(labels.tolist()).keys() == {0, 1, 2, 3}


def test_words_without_their_order_are_right_on_half(made: benchsuite.Dataset) -> None:
    def bags(split: str) -> np.ndarray[Any, Any]:
        ids, mask, _ = parts_of(made, split)
        return np.stack(
            [np.bincount(t[k == 1], minlength=64) for t, k in zip(ids.numpy(), mask.numpy(), strict=True)]
        )

    fitted = LogisticRegression(max_iter=1000).fit(bags("train"), made.train.labels.numpy())
    found = fitted.predict(bags("test"))
    labels = made.test.labels.numpy()
    assert np.mean(found == labels) < 0.6  # half, and two standard errors and more
    assert np.mean(found // 2 == labels // 2) > 0.9


@pytest.mark.parametrize("wrong", [{"vocabulary": 16, "classes": 8}, {"samples": 40, "classes": 6}])
def test_too_few_words_or_samples_are_said(wrong: dict[str, int]) -> None:
    with pytest.raises(benchsuite.DataError, match="need a vocabulary of more than"):
        WordOrder(**wrong).load(NOWHERE)


@given(
    st.integers(0, 5).map(lambda n: 40 + 13 * n),
    st.integers(6, 20),
    st.integers(16, 40),
    st.sampled_from((2, 4)),
)
def test_any_size_is_a_valid_data_set(samples: int, steps: int, vocabulary: int, classes: int) -> None:
    data = WordOrder(samples=samples, steps=steps, vocabulary=vocabulary, classes=classes).load(NOWHERE)
    assert checked(data).train.inputs["input_ids"].shape[1] == steps


TEXTS = {
    "train": [
        ("The cat, the DOG", "a"),
        ("a dog sat.", "b"),
        ("the cat\nsat “there”", "a"),
        ("", "b"),
        ("x_1 9", "a"),
    ],
    "test": [("the bird sat", "b"), ("cat " * 9, "a")],
}


def write(folder: Path, texts: dict[str, list[tuple[str, str]]], ending: str) -> Path:
    for part, rows in texts.items():
        with (folder / f"{part}.{ending}").open("w", newline="", encoding="utf-8") as file:
            if ending == "csv":
                csv.writer(file).writerows(
                    [("id", "label", "text"), *((1, label, text) for text, label in rows)]
                )
            else:
                file.writelines(json.dumps({"text": text, "label": label}) + "\n\n" for text, label in rows)
    return folder


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_folder_of_texts(tmp_path: Path, ending: str) -> None:
    data = checked(TextFolder(path=str(write(tmp_path, TEXTS, ending)), steps=6).load(NOWHERE))
    words = "the cat , the dog / a dog sat . / the cat sat “ there ” / x_1 9".replace("/", " ").split()
    ordered = sorted(set(words), key=lambda word: (-words.count(word), word))
    named = ("<padding>", "<unknown>", "<start>", *ordered)
    assert data.tokens == benchsuite.Tokens(len(ordered) + 3, words=named)
    assert data.classes == ("a", "b")

    def ids_of(*of: str) -> list[int]:
        found = [2, *(ordered.index(word) + 3 if word in ordered else 1 for word in of)]
        return found + [0] * (6 - len(found))

    ids, mask, labels = parts_of(data, "test")
    assert ids.tolist() == [ids_of("the", "bird", "sat"), ids_of(*["cat"] * 5)]
    assert mask.tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert labels.tolist() == [1, 0]
    assert len(data.train) + len(data.validation) == 5


def test_a_validation_file_is_the_validation_split(tmp_path: Path) -> None:
    write(tmp_path, {**TEXTS, "val": [("dog", "b")]}, "csv")
    data = checked(TextFolder(path=tmp_path.name).load(tmp_path.parent))
    assert [len(getattr(data, split)) for split in SPLITS] == [5, 1, 2]


@given(st.lists(st.text(alphabet="aB1_ ,.é\n", max_size=12), max_size=6), st.integers(1, 5))
def test_the_vocabulary_is_the_most_frequent_words(texts: list[str], most: int) -> None:
    counts = Counter(word for text in texts for word in words_of(text))
    known = vocabulary_of(texts, most)
    assert sorted(known.values()) == list(range(min(most, len(counts))))
    least = min((counts[word] for word in known), default=0)
    assert all(counts[word] <= least for word in counts.keys() - known.keys())
    assert vocabulary_of(list(reversed(texts)), most) == known


def test_what_is_in_the_files_is_in_the_fingerprint(tmp_path: Path) -> None:
    data = TextFolder(path=str(write(tmp_path, TEXTS, "csv")))
    before = data.fingerprint(NOWHERE)
    assert data.fingerprint(NOWHERE) == before
    write(tmp_path, {"test": [("the bird sat", "a")]}, "csv")
    assert data.fingerprint(NOWHERE) != before


HOSTILE: dict[str, tuple[dict[str, bytes | None], str]] = {
    "no test": ({"test.csv": b""}, "holds no text|needs one column 'text'; it has nothing"),
    "both": ({"train.jsonl": b"{}"}, r"holds both train.csv and train.jsonl"),
    "no column": (
        {"train.csv": b"txt,label\nx,a\n"},
        "the header needs one column 'text'; it has txt, label",
    ),
    "column twice": ({"train.csv": b"text,text,label\nx,y,a\n"}, "needs one column 'text'"),
    "header alone": ({"train.csv": b"text,label\n"}, "train.csv holds no text"),
    "short row": ({"train.csv": b"text,label\nx,a\ny\n"}, "line 3: 1 fields where the header has 2"),
    "open quote": ({"train.csv": b'text,label\n"x,a\n'}, "train.csv, line 2: unexpected end of data"),
    "no text encoding": ({"train.csv": b"text,label\n\xff\xfe,a\n"}, "train.csv cannot be read"),
    "empty label": ({"train.csv": b"text,label\nx, \n"}, "line 2: the label is empty"),
    "field too long": (
        {"train.csv": b"text,label\n" + b"x" * 200_000 + b",a\n"},
        "line 2: field larger than field limit",
    ),
    "one class": ({"train.csv": b"text,label\nx,a\ny,a\n", "test.csv": b"text,label\nx,a\n"}, "1 class"),
    "one text of a class": (
        {"train.csv": b"text,label\nx,a\ny,b\nz,a\n"},
        "class 'b' has 1 texts; it needs 2",
    ),
    "unknown label": (
        {"test.csv": b"text,label\nx,c\n"},
        "test.csv, line 2: no training text has the label 'c'",
    ),
    "a name that cannot be shown": (
        {"train.csv": b"text,label\nx,a\ny,a\nx,\x1b[1m\ny,\x1b[1m\n", "test.csv": b"text,label\nx,a\n"},
        "what cannot be shown",
    ),
    "no JSON": ({"train.csv": None, "train.jsonl": b'{"text": "x", "label": "a"}\n{\n'}, "line 2 is no JSON"),
    "deep JSON": ({"train.csv": None, "train.jsonl": b"[" * 100_000}, "line 1 is no"),
    "no object": ({"train.csv": None, "train.jsonl": b"[1]\n"}, 'is no object with "text" and "label"'),
    "a number as text": (
        {"train.csv": None, "train.jsonl": b'{"text": 3, "label": "a"}'},
        "the text is int; it must be a string",
    ),
    "a truth as label": (
        {"train.csv": None, "train.jsonl": b'{"text": "", "label": true}'},
        "the label is bool",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_named(tmp_path: Path, case: str) -> None:
    write(tmp_path, TEXTS, "csv")
    files, message = HOSTILE[case]
    for name, content in files.items():
        (tmp_path / name).unlink(missing_ok=True)
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(benchsuite.DataError, match=message):
        checked(TextFolder(path=str(tmp_path)).load(NOWHERE))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(benchsuite.DataError, match="no folder is named"):
        TextFolder().load(tmp_path)
    with pytest.raises(benchsuite.DataError, match=r"no train.csv or train.jsonl in .*needs train.csv"):
        TextFolder(path="nothing").fingerprint(tmp_path)
