from __future__ import annotations

import re

from drawn_marks import drawn_marks
from hypothesis import given
from hypothesis import strategies as st

from benchsuite_leaderboard.charts.smaller import smaller

COLOURS = st.sampled_from(["red", "blue"])
PLACES = st.integers(-50, 999).map(lambda tenths: tenths / 10)
DOT = st.tuples(st.just("circle"), PLACES, PLACES, COLOURS, st.sampled_from(["", "a &lt; b", "c"]))
LINE = st.tuples(st.just("line"), PLACES, PLACES, COLOURS, st.just(""))


def written(mark: tuple[str, float, float, str, str]) -> str:
    tag, x, y, colour, title = mark
    if tag == "line":
        return f'<line transform="translate({x},{y})" x2="5" y2="0" stroke="{colour}" stroke-width="1"/>'
    inner = f"><title>{title}</title></circle>" if title else "/>"
    return f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"{inner}'


def dots_and_lines(body: str) -> list[tuple[str, float, float, str, str]]:
    """Every dot and line in the order of drawing, whichever way it is written."""
    found = []
    for tag, of, title in drawn_marks(f'<svg xmlns="http://www.w3.org/2000/svg">{body}</svg>'):
        if tag == "circle":
            found.append(("circle", float(of["cx"]), float(of["cy"]), of["fill"], title))
            assert of["r"] == "2.5"
            continue
        assert "fill" not in of
        for x, y, end in re.findall(r"M([-\d.]+),([-\d.]+)([^M]+)", of["d"]):
            kind = "circle" if end == "h0" else "line"
            assert end in ("h0", "l5,0")
            assert kind == "line" or (of["stroke-width"], of["stroke-linecap"]) == ("5", "round")
            found.append((kind, float(x), float(y), of["stroke"], title))
    return found


@given(st.lists(st.one_of(DOT, LINE), max_size=12))
def test_the_same_marks_are_drawn_in_the_same_order(
    marks: list[tuple[str, float, float, str, str]],
) -> None:
    found = dots_and_lines(smaller("".join(map(written, marks))))
    expected = [(*mark[:4], mark[4].replace("&lt;", "<")) for mark in marks]
    assert found == expected


def test_a_series_with_one_title_is_one_mark_of_few_letters() -> None:
    body = "".join(written(("circle", x, 1.0, "red", "a: 1, 2, 3")) for x in (1.0, 2.0, 3.0))
    assert smaller(body) == (
        '<path d="M1,1h0M2,1h0M3,1h0" stroke="red" stroke-width="5" stroke-linecap="round">'
        "<title>a: 1, 2, 3</title></path>"
    )


def test_texts_keep_their_numbers() -> None:
    assert smaller('<text x="3.0">1.0 &gt; 0.50</text>') == '<text x="3">1.0 &gt; 0.50</text>'
