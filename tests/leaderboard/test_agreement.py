from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from drawn_marks import drawn_marks

from benchsuite.trials.agreement import NetworkAgreement
from benchsuite_leaderboard import summary
from benchsuite_leaderboard.agreement import workload_agreements
from benchsuite_leaderboard.charts.heat import agreement_heat_map
from benchsuite_leaderboard.site import render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchsuite.store.record import TrialRecord

    MakeMany = Callable[..., list[TrialRecord]]


def network(taus: dict[str, float | None], names: str, seed: int = 0, model: str = "mlp") -> NetworkAgreement:
    """Criteria of one letter; `taus` by pair of letters, the rest 0.5."""
    tau = tuple(tuple(1.0 if a == b else taus.get(a + b, taus.get(b + a, 0.5)) for b in names) for a in names)
    overlap = tuple(tuple(0.4 for _ in names) for _ in names)
    chance = tuple(tuple(0.1 for _ in names) for _ in names)
    return NetworkAgreement("digits", model, seed, tuple(names), tau, overlap, chance)


def test_pairs_are_averaged_over_the_seeds_that_have_them() -> None:
    networks = [
        network({"ab": 0.2, "ac": None}, "abc"),
        network({"ba": 0.6, "bd": -1.0}, "bad", seed=1),
        network({}, "ab", model="other"),
    ]
    mlp, other = workload_agreements(networks)
    assert (mlp.pair, mlp.seeds, other.pair.model, other.seeds) == (("digits", "mlp"), 2, "other", 1)
    at = {label: i for i, label in enumerate(mlp.criteria)}
    assert set(at) == set("abcd")
    assert mlp.tau[at["a"], at["b"]] == mlp.tau[at["b"], at["a"]] == pytest.approx(0.4)
    assert mlp.tau[at["b"], at["d"]] == -1
    assert math.isnan(mlp.tau[at["a"], at["c"]])
    assert math.isnan(mlp.tau[at["c"], at["d"]])
    assert mlp.mean_tau == pytest.approx(np.mean([0.4, -1.0, 0.5, 0.5]))
    assert [n.label for n in mlp.neighbours(at["b"])] == ["c", "a", "d"]
    assert other.mean_tau == 0.5


def test_alike_criteria_stand_together() -> None:
    alike = {"ac": 0.95, "bd": 0.9, "ab": 0.0, "ad": 0.0, "bc": 0.0, "cd": 0.0}
    (found,) = workload_agreements([network(alike, "abcd")])
    order = "".join(found.criteria)
    assert re.fullmatch("(ac|ca)(bd|db)|(bd|db)(ac|ca)", order)


def test_the_heat_map_has_a_square_for_each_pair_with_its_numbers() -> None:
    (found,) = workload_agreements([network({"ab": -0.8, "ac": None}, "abc")])
    svg = str(agreement_heat_map(found, label='alike "<b>"'))
    titles = re.findall("<title>(.*?): tau (.*?), 40% of the top in common</title>", svg)
    assert len(titles) == 2
    assert {(frozenset(pair.split(" and ")), tau) for pair, tau in titles} == {
        (frozenset("ab"), "-0.80"),
        (frozenset("bc"), "0.50"),
    }
    assert 'aria-label="alike &#34;&lt;b&gt;&#34;"' in svg
    squares = [of for _, of, title in drawn_marks(svg) if "tau" in title]
    assert [float(of["opacity"]) for of in squares if of["fill"] == "var(--series-2)"] == [0.8]


def test_the_page_is_there_when_it_has_something_to_show(
    matrix: MakeMany, hostile: str, tmp_path: Path
) -> None:
    records = matrix()
    names = ("alpha", "beta", hostile)
    tau = ((1.0, -0.25, None), (-0.25, 1.0, None), (None, None, None))
    half = ((0.5,) * 3,) * 3
    given = [NetworkAgreement("digits", model, 0, names, tau, half, half) for model in ("mlp", hostile)]
    index = render(records, tmp_path, title="demo", agreement=given)
    page = (tmp_path / "agreement.html").read_text()
    assert "<script>alert" not in page
    assert 'href="agreement.html"' in index.read_text()
    assert "Most alike are" in page
    assert re.search(r'<th scope="row"><a href="criteria/alpha-[0-9a-f]{8}.html">', page)
    assert "−0.25" in page
    assert "no pair can be compared" in page
    before = index.stat().st_mtime_ns
    render(records, tmp_path, title="demo", agreement=given)
    assert index.stat().st_mtime_ns == before
    render(records, tmp_path, title="demo", agreement=given[:1])
    assert index.stat().st_mtime_ns != before
    render(records, tmp_path, title="demo")
    assert not (tmp_path / "agreement.html").exists()
    assert "agreement.html" not in index.read_text()


def test_the_summary_has_it_as_a_drawing_and_a_matrix(matrix: MakeMany, tmp_path: Path) -> None:
    given = [network({"ab": -0.8, "ac": None}, "abc"), network({"ab": -0.6, "ac": None}, "abc", seed=1)]
    summary.render(matrix(), tmp_path, title="demo", agreement=given)
    (drawing,) = tmp_path.glob("agreement-*.svg")
    assert "<style>" in drawing.read_text()
    (table,) = tmp_path.glob("agreement-*.csv")
    head, *rows = (line.split(",") for line in table.read_text().splitlines())
    cells = {(row[0], column): value for row in rows for column, value in zip(head[1:], row[1:], strict=True)}
    assert cells["a", "b"] == cells["b", "a"] == "-0.7"
    assert cells["a", "c"] == ""
    summary.render(matrix(), tmp_path, title="demo")
    assert list(tmp_path.glob("agreement-*")) == []
