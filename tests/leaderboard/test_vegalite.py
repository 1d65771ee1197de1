from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from benchsuite_leaderboard.charts.vegalite import as_is, axis, layer, text, to_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("has_notes", [True, False])
def test_points_are_circles_where_they_belong(has_notes: bool) -> None:
    rows = [
        {"x": x, "y": y, "colour": "red", "note": f'"{x}" & <{y}>'} for x, y in ((0, 0), (50, 25), (100, 100))
    ]
    encoding = {"x": axis("x", (0, 100), "x"), "y": axis("y", (0, 100), "y"), "color": as_is("colour")}
    if has_notes:
        encoding["description"] = text("note")
    svg = to_svg(
        [layer("point", rows, encoding, filled=True, size=26, opacity=1)], width=200, height=100, label=""
    )
    root = ET.fromstring(str(svg))
    circles = list(root.iter(f"{SVG}circle"))
    assert [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in circles] == [
        (0, 100),
        (100, 75),
        (200, 0),
    ]
    assert {c.attrib["fill"] for c in circles} == {"red"}
    notes = [c.findtext(f"{SVG}title") for c in circles]
    assert notes == ([row["note"] for row in rows] if has_notes else [None] * 3)
    assert not [group for group in root.iter(f"{SVG}g") if not group.attrib or not len(group)]
