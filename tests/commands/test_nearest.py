"""What is suggested for a mistyped name, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.cli import COMMANDS
from benchsuite.commands.nearest import did_you_mean, mistakes, nearest

AXES = ["dataset", "model", "seed", "scorer", "sparsity", "draw", "scope", "budget", "status"]
WORDS = st.text("abcd-", min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("rnu", COMMANDS, ["run"]),
        ("resutls", COMMANDS, ["results"]),
        ("plugin", COMMANDS, ["plugins"]),
        ("leader", COMMANDS, ["leaderboard"]),
        ("mlflow_sync", COMMANDS, ["mlflow-sync"]),
        ("Doctor", COMMANDS, ["doctor"]),
        ("scroer", AXES, ["scorer"]),
        ("sorcer", AXES, ["scorer"]),
        ("modle", AXES, ["model"]),
        ("taylor", ["taylor-weight", "hrank", "taylor-activation"], ["taylor-weight", "taylor-activation"]),
        ("taylr", ["taylor-weight", "hrank", "taylor-activation"], ["taylor-weight", "taylor-activation"]),
        ("talor", ["taylor-weight", "hrank"], ["taylor-weight"]),
        ("sips", ["snip-weight", "chip"], []),
        ("frob", COMMANDS, []),
        ("delete", COMMANDS, []),
        ("help", COMMANDS, []),
        ("size", AXES, []),
        ("x", ["y", "z"], []),
        ("", COMMANDS, []),
    ],
)
def test_a_slip_is_understood_and_another_word_is_not(name, known, meant):
    assert nearest(name, known) == meant


def test_all_names_are_listed_where_none_is_near_and_they_are_few():
    assert did_you_mean("rnu", ["run", "plan"]) == "; did you mean 'run'?"
    assert did_you_mean("frob", ["run", "plan"]) == "; there are: run, plan"
    assert did_you_mean("frob", [f"name-{number}" for number in range(21)]) == ""


@given(WORDS, st.data())
def test_one_letter_wrong_is_one_mistake(word, data):
    place = data.draw(st.integers(0, len(word) - 1))
    for slip in (word[:place] + word[place + 1 :], word[:place] + "x" + word[place + 1 :]):
        assert mistakes(word, slip) == 1
        assert mistakes(slip, word) == 1
    swapped = word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
    assert mistakes(word, swapped) == (swapped != word)
    assert mistakes(word, word) == 0


@given(WORDS, WORDS)
def test_mistakes_are_at_least_the_difference_in_letters(first, second):
    assert abs(len(first) - len(second)) <= mistakes(first, second) <= max(len(first), len(second))
