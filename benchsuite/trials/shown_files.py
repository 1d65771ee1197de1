"""Tables, curves and pictures of metric plugins, as files in the folders of trials and dense models."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from benchsuite.drawing.lines import lines_png
from benchsuite.store.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.metrics.showpieces import Curve, Showpieces

FILE = re.compile(r"measured-[a-z0-9._-]{1,100}-[a-z][a-z0-9_]{0,39}\.(csv|png)")
"""Names of these files: the metric's, and that of the table, curve or picture."""


def keep_shown(folder: Path, called: str, shown: Showpieces) -> None:
    """Leave what a metric showed in a stage's folder, in place of what an earlier attempt left.

    Args:
        folder: of a trial, a dense model, or a stage of the metric's own.
        called: what records call the metric.
        shown: a curve becomes a table and a drawing of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = f"measured-{called}-"
    for path in _of_metric(folder, called):
        path.unlink()
    for name, table in shown.tables.items():
        write_atomically(folder / f"{start}{name}.csv", table)
    for name, curve in shown.curves.items():
        write_atomically(folder / f"{start}{name}.csv", _table(curve))
        write_atomically(folder / f"{start}{name}.png", lines_png(curve.x, curve.y, curve.axes))
    for name, picture in shown.pictures.items():
        write_atomically(folder / f"{start}{name}.png", picture)


def copy_shown(source: Path, named: str, folder: Path, called: str) -> None:
    """Leave what lies in one stage's folder in another's, too, where that is not so yet.

    Args:
        source: where `keep_shown` left it.
        named: what the metric was called there.
        folder: where to leave it.
        called: what the metric is called here.
    """
    start, own = f"measured-{named}-", f"measured-{called}-"
    wanted = {own + path.name.removeprefix(start): path.read_bytes() for path in _of_metric(source, named)}
    for path in _of_metric(folder, called):
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        target = folder / name
        if not target.is_file() or target.read_bytes() != content:
            write_atomically(target, content)


def _of_metric(folder: Path, called: str) -> list[Path]:
    """What a metric left in a folder; one whose name begins like another's leaves other files."""
    found = folder.glob(f"measured-{called}-*")
    return [p for p in found if FILE.fullmatch(p.name) and p.stem.rpartition("-")[0] == f"measured-{called}"]


def _table(curve: Curve) -> str:
    """A line's values in a column each; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([curve.axes[0], *curve.y])
    for number, place in enumerate(curve.x):
        values = [line[number] for line in curve.y.values()]
        writer.writerow([f"{place:.9g}", *("" if value is None else f"{value:.9g}" for value in values)])
    return text.getvalue()
