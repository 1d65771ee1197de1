"""What a model plugin builds becomes a network that trains, or is refused with what would be right."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from benchsuite import cli
from benchsuite.errors import Unsupported
from benchsuite.store.run_directory import RunDirectory
from benchsuite.trials.usable_model import place_of_class_scores, return_class_scores, usable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE, CLASSES = (1, 8, 8), 5
INPUTS = torch.rand(2, *SHAPE)


def plain(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES)
    )


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]  # it is a module


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


class Twice(nn.Module):
    """Has one layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.body = plain()
        self.one = self.other = compiled(nn.Linear(CLASSES, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(self.body(x)))


def compiled_inside(model: nn.Module) -> nn.Module:
    assert isinstance(model, nn.Sequential)
    model[0] = compiled(model[0])
    return model


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        compiled,
        compiled_in_place,
        compiled_inside,
        lambda m: nn.DataParallel(compiled(m)),
        torch.fx.symbolic_trace,
        lambda m: m.to(memory_format=torch.channels_last),
    ],
)
def test_wrappers_are_taken_off(wrap: Callable[[nn.Module], nn.Module]) -> None:
    found = usable(wrap(plain()), SHAPE)
    assert {n: p.shape for n, p in found.named_parameters()} == {
        n: p.shape for n, p in plain().named_parameters()
    }
    assert isinstance(found.get_submodule("0"), nn.Conv2d)
    torch.testing.assert_close(found.eval()(INPUTS), plain().eval()(INPUTS))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_single_and_that_is_told(kind: torch.dtype) -> None:
    told: list[str] = []
    found = usable(plain().to(kind), SHAPE, told.append)
    assert {p.dtype for p in (*found.parameters(), *found.buffers()) if p.is_floating_point()} == {
        torch.float32
    }
    assert told == [
        f"weights of {str(kind)[6:]} are float32 here, in which networks are trained and measured"
    ]
    usable(plain(), SHAPE, told.append)
    assert len(told) == 1


def test_lazy_modules_are_initialised_alike_for_one_seed() -> None:
    def lazy() -> nn.Module:
        torch.manual_seed(3)
        return usable(
            nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)), SHAPE
        )

    one, other = lazy(), lazy()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert one(INPUTS).shape == (2, CLASSES)


def test_some_frozen_parameters_stay_frozen() -> None:
    model = plain()
    model[0].requires_grad_(requires_grad=False)
    found = usable(model, SHAPE)
    assert [p.requires_grad for p in found.parameters()] == [False, False, True, True, True, True]


@pytest.mark.filterwarnings("ignore:.*jit.script.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: plain().requires_grad_(requires_grad=False), "every parameter of the network is frozen"),
        (lambda: plain().to("meta"), "is on the device meta and has no weights"),
        (nn.Flatten, "every parameter of the network is frozen, or it has none"),
        (lambda: torch.jit.script(plain()), "build[(][)] must return the network as it is without torch.jit"),
        (
            lambda: nn.Sequential(nn.LazyLinear(3), nn.Conv2d(2, 3, 9), nn.Flatten()),
            "is called with one tensor of shape [(]2, 1, 8, 8[)]",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(model: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        usable(model(), SHAPE)


Named = namedtuple("Named", ["features", "scores"])


class Returning(nn.Module):
    """Returns what is made of its features and class scores, in training perhaps something else."""

    def __init__(self, made: Callable[[Tensor, Tensor], Any], training: Any = None) -> None:
        super().__init__()
        self.inner, self.made, self.made_in_training = plain(), made, training or made

    def forward(self, x: Tensor) -> Any:
        scores = self.inner(x)
        return (self.made_in_training if self.training else self.made)(x.flatten(1), scores)


@pytest.mark.parametrize(
    ("made", "training", "wanted", "place"),
    [
        (lambda f, s: s, None, None, None),
        (lambda f, s: {"logits": s, "other": s}, None, None, "logits"),
        (lambda f, s: OrderedDict(features=f, out=s), None, None, "out"),
        (lambda f, s: {"a": s + 1, "b": s}, None, "b", "b"),
        (lambda f, s: (s, s.softmax(1)), None, None, 0),
        (lambda f, s: [f, s], None, None, 1),
        (lambda f, s: (s + 1, s), None, 1, 1),
        (Named, None, None, 1),
        (lambda f, s: s, lambda f, s: (s, s + 1), None, 0),
        (lambda f, s: s, lambda f, s: (f[:, :5], s), None, 1),
        (lambda f, s: s, lambda f, s: {("a",): f[:, :5], "b": s, None: s}, None, "b"),
        (lambda f, s: s, lambda f, s: {"aux": f, "main": s}, None, "main"),
        (lambda f, s: {"logits": s}, lambda f, s: {"logits": s, "aux": s + 1}, None, "logits"),
    ],
)
def test_the_class_scores_are_found_and_returned_alone(made, training, wanted, place) -> None:
    model = Returning(made, training)
    assert place_of_class_scores(model, INPUTS, CLASSES, wanted) == place
    return_class_scores(model, place)
    for mode in (True, False):
        assert torch.equal(model.train(mode)(INPUTS), model.inner(INPUTS))


@pytest.mark.parametrize(
    ("made", "training", "wanted", "told"),
    [
        (lambda f, s: {"a": s, "b": s}, None, None, r"'a': \(2, 5\), 'b': \(2, 5\)\) more than one"),
        (lambda f, s: {"a": f}, None, None, r"'a': \(2, 64\)\) none has the shape \(2, 5\) of class scores"),
        (lambda f, s: (s, f), None, 1, "not 1 has the shape"),
        (lambda f, s: {"a": s}, None, "b", "not 'b'"),
        (lambda f, s: f, None, None, r"returns a tensor of shape \(2, 64\) for 2 samples of 5 classes"),
        (lambda f, s: s[..., None], None, None, r"shape \(2, 5, 1\)"),
        (lambda f, s: {None: s}, None, None, r"None: \(2, 5\)\) none has"),
        (lambda f, s: (), None, None, "none has the shape"),
        (lambda f, s: "text", None, None, "none has the shape"),
        (lambda f, s: 3, None, None, "returns int, no tensor"),
        (lambda f, s: (s, f), lambda f, s: (f, s), None, "as output 0 in evaluation and as 1 in training"),
        (lambda f, s: s @ f, None, None, "raises RuntimeError"),
    ],
)
def test_outputs_without_class_scores_are_told(made, training, wanted, told) -> None:
    with pytest.raises(Unsupported, match=told):
        place_of_class_scores(Returning(made, training), INPUTS, CLASSES, wanted)


def test_a_network_of_two_inputs_is_told() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(
        Unsupported, match=r"called with one tensor .* missing 1 required positional argument: 'y'"
    ):
        place_of_class_scores(Two(), INPUTS, CLASSES)


def test_to_look_at_the_outputs_changes_nothing() -> None:
    model = Returning(lambda f, s: s).train()
    model.inner.insert(1, nn.Dropout())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    place_of_class_scores(model, INPUTS, CLASSES)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


PLUGIN = """
import benchsuite
from torch import nn

class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        self.hidden = nn.Linear(16, 64)
        self.aux, self.main = nn.Linear(16, 10), nn.Linear(64, 10)

    def forward(self, x):
        features = self.body(x)
        out = {"features": features, "main": self.main(self.hidden(features).relu())}
        return out | {"aux": self.aux(features)} if self.training else out

class Odd(benchsuite.ModelPlugin):
    name = "odd"
    logits = "main"

    def build(self, input_shape, classes):
        return Heads().double()

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Odd)
"""
SUITE = """
[suite]
name = "heads"
seeds = [0]
sparsities = [0.4]
scorers = ["taylor-weight"]
controls = ["scratch"]

[[workload]]
dataset = "digits"
models = ["odd"]

[training]
epochs = 2

[recovery]
epochs = 0.5

[pruning]
schedule = ["one-shot", "rewind"]

[metrics]
latency = false
"""


class AuxiliaryFirst(nn.Module):
    """In training it returns the scores of an auxiliary head before its own, in evaluation its own alone."""

    def __init__(self, *, normed: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.BatchNorm1d(16))
        self.main, self.aux = nn.Linear(16, CLASSES), nn.Linear(16, CLASSES)
        if normed:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                nn.utils.weight_norm(self.aux)

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        return (self.aux(features), self.main(features)) if self.training else self.main(features)


@pytest.mark.parametrize("normed", [False, True])
def test_of_two_heads_in_training_the_one_of_evaluation_counts(normed: bool) -> None:
    model = AuxiliaryFirst(normed=normed)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert place_of_class_scores(model, INPUTS, CLASSES) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_compiled_layer_under_two_names_is_taken_out_under_both() -> None:
    found = usable(Twice(), SHAPE)
    assert found.one is found.other
    assert isinstance(found.one, nn.Linear)


@pytest.mark.slow
def test_a_network_of_several_heads_runs_through_every_stage(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "odd.py").write_text(PLUGIN)
    (tmp_path / "suite.toml").write_text(SUITE)
    plugin = ["--plugin", str(tmp_path / "odd.py")]
    run = [str(tmp_path / "suite.toml"), *plugin, "--output", str(tmp_path / "run")]
    assert cli.main(["run", *run]) == 0
    assert "model odd: weights of float64 are float32 here" in capsys.readouterr().out
    records = RunDirectory(tmp_path / "run").results().records
    assert {record.axes["scorer"] for record in records} == {"taylor-weight", "scratch(taylor-weight)"}
    assert all(record.metrics["accuracy/top1_dense"] > 0.5 for record in records)
    for record in records[:2]:
        assert cli.main(["export", str(tmp_path / "run"), record.key, *plugin]) == 0
