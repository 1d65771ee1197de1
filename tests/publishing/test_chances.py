"""The chance that reruns catch forged cells, beside scipy's hypergeometric distribution."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from benchsuite.publishing.chances import chance_to_catch


@settings(deadline=None)
@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_it_is_hypergeometric(drawn: tuple[int, int, int]) -> None:
    cells, forged, again = drawn
    expected = hypergeom(cells, forged, again).sf(0)
    assert chance_to_catch(cells, forged, again) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_it_is_what_draws_come_to() -> None:
    chance, cells, forged, again, draws = random.Random(3), 40, 4, 6, 20_000
    caught = sum(min(chance.sample(range(cells), again)) < forged for _ in range(draws))
    assert chance_to_catch(cells, forged, again) == pytest.approx(caught / draws, abs=0.015)


def test_of_a_million_cells_it_is_still_exact() -> None:
    assert chance_to_catch(1_000_000, 1, 20) == pytest.approx(20 / 1_000_000)
    assert chance_to_catch(1_000_000, 100_000, 20) == pytest.approx(hypergeom(10**6, 10**5, 20).sf(0))


def test_the_documentation_has_these_chances() -> None:
    assert f"{chance_to_catch(228, 1, 20):.1%} {chance_to_catch(228, 23, 20):.1%}" == "8.8% 89.2%"
    text = (Path(__file__).parents[2] / "docs/publishing.md").read_text()
    assert "20 reruns find a single forged one with 8.8%, and one of 23 with 89.2%" in text


@pytest.mark.parametrize("wrong", [(3, 4, 1), (3, 1, 4), (3, -1, 1), (3, 1, -1)])
def test_more_than_there_are_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="are not among"):
        chance_to_catch(*wrong)
