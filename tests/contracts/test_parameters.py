"""Parameters of plugins: two ways to write one plugin are the same, and no value becomes another type."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.contracts.model import ModelFamily, ModelPlugin
from benchsuite.contracts.plugin import Plugin, PluginChoice, canonical_parameters, validated_parameters
from benchsuite.errors import UsageError
from benchsuite.plan.matrix import build_plan
from benchsuite.plan.stage_keys import train_key
from benchsuite.registry.discovery import discover_shipped
from benchsuite.store.keys import plain
from benchsuite.suite.reading import load_suite

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.contracts.plugin import Kind
    from benchsuite.plan.trial import Trial

SUITE = """
[suite]
name = "some"
seeds = [0, 1]
sparsities = [0.5]
scorers = [{scorer}]
controls = ["random", {{name = "shuffled", of = [{scorer}]}}]

[[workload]]
dataset = {dataset}
models = [{model}]
"""
DEFAULTS = {"scorer": '"tree-gain"', "dataset": '"digits"', "model": '"mlp"'}


def planned(folder: Path, **written: str) -> list[Trial]:
    path = folder / "suite.toml"
    path.write_text(SUITE.format(**{**DEFAULTS, **written}))
    registry = discover_shipped()
    return build_plan(load_suite(path, registry), registry, folder)


def facts(trial: Trial) -> list[Any]:
    """Everything that names a trial or decides what it draws."""
    tasks = (trial.dense.dataset, trial.dense.model, trial.score.scorer)
    names = [(each.label, each.parameters) for each in tasks]
    return [trial.key, trial.stages, trial.axes, names, [trial.seed_for(of) for of in ("train", "score")]]


def test_a_default_that_is_written_out_changes_nothing(tmp_path: Path) -> None:
    plain_ones = list(map(facts, planned(tmp_path)))
    for written in (
        {"model": '{ name = "mlp", hidden = [50] }'},
        {"model": '{ name = "mlp", parameters = { hidden = [50] } }'},
        {"scorer": '{ name = "tree-gain", k = 5, reduction = "mean" }'},
    ):
        assert list(map(facts, planned(tmp_path, **written))) == plain_ones, written


def test_ways_to_write_one_value_are_one(tmp_path: Path) -> None:
    ways = ['{ name = "mlp", hidden = [20] }', '{ name = "mlp", hidden = [20.0] }']
    one, other = (list(map(facts, planned(tmp_path, model=way))) for way in ways)
    assert one == other
    assert {trial[2]["model"] for trial in one} == {"mlp(hidden=[20])"}
    assert not {trial[0] for trial in one} & {trial[0] for trial in map(facts, planned(tmp_path))}


def test_a_model_that_stands_there_twice_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="models lists 'mlp' twice"):
        planned(tmp_path, model='"mlp", { name = "mlp", hidden = [50] }')


def test_every_shipped_plugin_is_named_alike_with_its_defaults_written_out() -> None:
    registry, seen = discover_shipped(), 0
    for kind in ("scorer", "model", "dataset", "concepts"):
        for name, cls in registry.classes(kind).items():
            every = json.loads(json.dumps(validated_parameters(cls, {}), default=plain))
            every.pop("architecture", None)
            name = f"{name}/{cls.architectures()[0]}" if issubclass(cls, ModelFamily) else name
            assert canonical_parameters(registry, kind, name, every) == {}, name
            seen += bool(every)
    assert seen > 15


class Some(Plugin):
    """Parameters of each usual type."""

    name: ClassVar[str] = "some"
    whole: int = 3
    number: float = 0.5
    flag: bool = False
    text: str = "a"
    several: tuple[int, ...] = (1, 2)
    maybe: int | None = None


RIGHT: dict[str, list[Any]] = {
    "whole": [4, 4.0],
    "number": [2, 2.0],
    "flag": [True],
    "text": ["12"],
    "several": [[3], (3,), [3.0]],
    "maybe": [7],
}
WRONG: dict[str, list[Any]] = {
    "whole": ["12", True, 12.5, None],
    "number": ["0.5", True],
    "flag": [1, 0, "true"],
    "text": [12, True],
    "several": [["1", 2], [True], 5],
    "maybe": ["7", False],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"^some: {name}"):
        Some(**{name: value})


class Odd(Plugin):
    name = "odd"
    text: str = "x"
    other: str = "y"
    flag: bool | int = 1
    number: float = 0.0
    several: list[str] = []  # noqa: RUF012 - a parameter


odd_texts = st.one_of(
    st.text("abx,=()[]'\"\\ 1.T", max_size=8), st.sampled_from(["True", "1", "None", "nan", "1e3"])
)
odd_values = st.fixed_dictionaries(
    {},
    optional={
        "text": odd_texts,
        "other": odd_texts,
        "flag": st.sampled_from([True, False, 0, 1, 2]),
        "number": st.sampled_from([0.0, -0.0, 1.0, 0.5]),
        "several": st.lists(odd_texts, max_size=2),
    },
)


class OfOdd:
    def create(self, _kind: Kind, _name: str, parameters: dict[str, Any]) -> Plugin:
        return Odd(**parameters)


@settings(max_examples=300)
@given(odd_values, odd_values)
def test_labels_are_equal_where_the_parameters_are_and_nowhere_else(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    labels, made = [], []
    for parameters in (one, other):
        chosen = canonical_parameters(OfOdd(), "scorer", "odd", parameters)
        labels.append(PluginChoice("odd", chosen).label)
        made.append(json.dumps(Odd(**parameters).parameters, sort_keys=True))
        assert json.dumps(Odd(**chosen).parameters, sort_keys=True) == made[-1]
    assert (labels[0] == labels[1]) == (made[0] == made[1])


def test_everyday_labels_are_plain() -> None:
    parameters = {
        "a": "mean",
        "b": "../weights/1.pt",
        "c": [20, 20],
        "d": 0.5,
        "e": True,
        "f": "two words",
    }
    label = PluginChoice("it", parameters).label
    assert label == "it(a=mean, b=../weights/1.pt, c=[20, 20], d=0.5, e=True, f=two words)"


def test_what_is_set_stays_and_is_the_same_in_json() -> None:
    for values in product(*RIGHT.values()):
        given = dict(zip(RIGHT, values, strict=True))
        found = canonical_parameters(ALONE, "scorer", "some", given)
        assert found == {
            "whole": 4,
            "number": 2.0,
            "flag": True,
            "text": "12",
            "several": [3],
            "maybe": 7,
        }
        assert json.dumps(found) == json.dumps(canonical_parameters(ALONE, "scorer", "some", found))
        assert Some(**found).parameters == Some(**given).parameters
    default = {"several": [1, 2], "maybe": None, "number": 0.5}
    assert canonical_parameters(ALONE, "scorer", "some", default) == {}


class Doubling(Some):
    """Makes something else of what it is given."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.whole *= 2


def test_what_a_plugin_makes_something_else_of_stays_as_it_is_written() -> None:
    class Only:
        def create(self, kind: Kind, name: str, parameters: dict[str, Any], /) -> Plugin:
            return Doubling(**parameters)

    assert canonical_parameters(Only(), "scorer", "some", {"whole": 5}) == {"whole": 5}
    assert canonical_parameters(Only(), "scorer", "some", {"whole": 3}) == {}


def test_other_random_numbers_are_another_key() -> None:
    recipe = ModelPlugin.recipe
    first, second = (train_key("data", {}, recipe, 1, ("digits", label), 0) for label in ("a", "a(b=1)"))
    assert first != second


class _Alone:
    def create(self, kind: Kind, name: str, parameters: dict[str, Any], /) -> Plugin:
        return Some(**parameters)


ALONE = _Alone()
