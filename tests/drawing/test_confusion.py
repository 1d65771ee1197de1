"""The confusion matrix's files have the content of the matrix, for any class names."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import torch

from benchsuite.drawing.confusion import confusion_csv, confusion_svg

COUNTS = torch.tensor([[5, 1, 0], [0, 7, 2], [0, 0, 0]])
CLASSES = ("zero", '<script>"&', "a,b")


def test_the_table_reads_back():
    rows = list(csv.reader(io.StringIO(confusion_csv(COUNTS, CLASSES))))
    assert rows[0][1:] == list(CLASSES)
    assert [row[0] for row in rows[1:]] == list(CLASSES)
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == COUNTS.tolist()


def test_the_picture_is_well_formed_and_shows_shares_of_the_true_class():
    root = ElementTree.fromstring(confusion_svg(COUNTS, CLASSES))
    space = "{http://www.w3.org/2000/svg}"
    shares = [float(r.get("fill-opacity")) for r in root.iter(f"{space}rect") if r.get("fill-opacity")]
    assert shares == [round(x, 3) for x in (5 / 6, 1 / 6, 0, 0, 7 / 9, 2 / 9, 0, 0, 0)]
    assert root.find(f".//{space}script") is None
