"""Your own texts with their classes, in tables or lines of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import benchsuite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchsuite_datasets._labelled_texts import Labelled
    from benchsuite_datasets._texts import RawTexts

LAYOUT = (
    "train.csv, test.csv and optionally val.csv with columns text and label, or .jsonl files with such keys"
)
_PARTS = ("train", "val", "test")


class TextFolder(benchsuite.DatasetPlugin):
    """Texts in `train.csv`, `test.csv` and optionally `val.csv`, or in `.jsonl` files of the same names.

    A table has a header with the columns `text` and `label`; a `.jsonl` file has one object a line with these
    keys. Texts are taken apart into words, runs of letters, digits and underscores in lower case, and single
    other signs. Token ids are those of the words of the training texts, the most frequent first, equally
    frequent ones in the order of their characters; 0 is padding, 1 a word that is not among them, 2 the start
    of every text. What is beyond `steps` tokens is cut off. The classes are the labels of the training texts,
    in alphabetical order. Without a `val` file a fixed tenth of each class of the training texts is the
    validation split.
    """

    name = "text-folder"
    path: str = ""
    """The folder, absolute or relative to the data folder."""
    steps: Annotated[int, Field(ge=2, le=4096)] = 64
    """Tokens of a text at most, the start token among them."""
    vocabulary: Annotated[int, Field(ge=4, le=1_000_000)] = 20_000
    """Token ids at most, the three that are no words among them."""

    def load(self, folder: Path) -> benchsuite.Dataset:
        """Return the splits; raises `DataError` that names the wrong file and line."""
        from benchsuite_datasets._labelled_texts import read, vocabulary_of
        from benchsuite_datasets._texts import SPECIAL, SPECIAL_NAMES, assemble

        parts = {part: read(file) for part, file in self._files(folder).items()}
        known = vocabulary_of(parts["train"].texts, self.vocabulary - SPECIAL)
        classes = tuple(sorted(set(parts["train"].labels)))
        raw = {part: self._raw(labelled, known, classes) for part, labelled in parts.items()}
        words = (*SPECIAL_NAMES, *sorted(known, key=known.__getitem__))
        return assemble(raw["train"], raw["test"], classes, len(words), raw.get("val"), words)

    def fingerprint(self, folder: Path) -> str:
        """SHA-256 over the names and the content of the files."""
        return benchsuite.files_fingerprint(self._root(folder), list(self._files(folder).values()))

    def _root(self, folder: Path) -> Path:
        if not self.path:
            raise benchsuite.DataError(
                'text-folder: no folder is named; set it as in { name = "text-folder", path = "mine" },'
                f" relative to the data folder; it holds {LAYOUT}"
            )
        return folder / self.path

    def _files(self, folder: Path) -> dict[str, Path]:
        """By part, its file; validation texts need none."""
        root = self._root(folder)
        files: dict[str, Path] = {}
        for part in _PARTS:
            found = [file for ending in ("csv", "jsonl") if (file := root / f"{part}.{ending}").is_file()]
            if len(found) > 1:
                raise benchsuite.DataError(
                    f"{root} holds both {found[0].name} and {found[1].name}; leave one of them"
                )
            if found:
                files[part] = found[0]
            elif part != "val":
                raise benchsuite.DataError(
                    f"there is no {part}.csv or {part}.jsonl in {root}; text-folder needs {LAYOUT}"
                )
        return files

    def _raw(self, part: Labelled, known: Mapping[str, int], classes: Sequence[str]) -> RawTexts:
        import numpy as np

        from benchsuite_datasets._labelled_texts import words_of
        from benchsuite_datasets._texts import SPECIAL, START, UNKNOWN, RawTexts

        numbers = {name: number for number, name in enumerate(classes)}
        for label, where in zip(part.labels, part.places, strict=True):
            if label not in numbers:
                raise benchsuite.DataError(f"{where}: no training text has the label {label[:100]!r}")
        ids = np.zeros((len(part.texts), self.steps), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(part.texts):
            words = words_of(text)[: self.steps - 1]
            found = [START, *(known.get(word, UNKNOWN - SPECIAL) + SPECIAL for word in words)]
            ids[row, : len(found)], mask[row, : len(found)] = found, 1
        labels = np.array([numbers[label] for label in part.labels], np.int64)
        return RawTexts(ids, mask, labels, str(part.file))
