from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from drawn_marks import drawn_marks

from benchsuite_leaderboard.charts.vegalite import as_is, axis, end, labels, layer, position, text, to_svg

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
    if has_notes:
        circles = list(root.iter(f"{SVG}circle"))
        places = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in circles]
        marks = list(drawn_marks(str(svg)))
        assert [of["fill"] for tag, of, _ in marks if tag == "circle"] == ["red"] * 3
        assert [c.findtext(f"{SVG}title") for c in circles] == [row["note"] for row in rows]
    else:
        (dots,) = [path for path in root.iter(f"{SVG}path") if path.get("stroke") == "red"]
        places = [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+),([\d.]+)h0", dots.attrib["d"])]
    assert places == [(0, 100), (100, 75), (200, 0)]
    assert not [group for group in root.iter(f"{SVG}g") if not group.attrib or not len(group)]


def test_only_what_a_channel_shows_is_handed_to_the_renderer() -> None:
    made = layer(
        "rule", [{"x": 1, "far": 2, "note": "n" * 99}], {"x": position("x", (0, 9)), "x2": end("far")}
    )
    assert made["data"]["values"] == [{"x": 1, "far": 2}]


def test_there_is_room_for_unmeasured_names() -> None:
    place = {"x": position("x", (0, 100)), "y": position("y", (0, 100))}
    drawings = [
        str(
            to_svg(
                [labels([{"x": 100, "y": 50, "name": name}], place | {"text": text("name")})],
                width=200,
                height=100,
                label="",
            )
        )
        for name in ("a", "a" * 30)
    ]
    short, long = (float(re.findall(r'viewBox="0 0 (\d+)', svg)[0]) for svg in drawings)
    assert 29 * 5 < long - short < 29 * 8
    assert all('font-size="0' not in svg for svg in drawings)
