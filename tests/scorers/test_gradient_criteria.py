"""Criteria that read gradients and curvature, each compared with loops over batches, samples or weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from deviations import agree
from scipy.linalg import hadamard
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from benchsuite.scoring.check import run_scorer
from benchsuite.testing import context_for, tiny_convnet, tiny_mlp, tiny_samples
from benchsuite_scorers import obd
from benchsuite_scorers._curvature import hessian_products
from benchsuite_scorers.registration import Fisher, Grasp, Obd, Snip, SynFlow, TaylorWeight

if TYPE_CHECKING:
    from deviations import Record

    from benchsuite import Scorer, ScoringContext


def setting(granularity: str = "unit", model: nn.Module | None = None) -> tuple[nn.Module, ScoringContext]:
    model = model or tiny_convnet()
    return model, context_for(model, *tiny_samples(20), batch_size=8, granularity=granularity)


def gradients(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    functional.cross_entropy(model(inputs), labels).backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


def value(model: nn.Module, name: str) -> Tensor:
    return model.get_parameter(name).detach()


def full_batch(context: ScoringContext) -> tuple[Tensor, Tensor]:
    pairs = list(context.batches())
    return torch.cat([inputs for inputs, _ in pairs]), torch.cat([labels for _, labels in pairs])


def test_taylor_weight_of_weights_sees_every_batch(record_property: Record) -> None:
    model, context = setting("weight")
    found = run_scorer(TaylorWeight(), context).scores
    batches = list(context.batches())
    for name in ("0", "4", "7", "9"):
        weight = model.get_parameter(f"{name}.weight").detach()
        squares = [(gradients(model, *batch)[f"{name}.weight"] * weight) ** 2 for batch in batches]
        expected = sum(squares) / len(batches)
        agree(record_property, "taylor-weight", found[name], expected, rel=1e-5, absolute=1e-10)


@pytest.mark.parametrize("variant", ["gate", "weight"])
def test_taylor_weight_of_weights_with_samples(variant: str, record_property: Record) -> None:
    model, context = setting("weight")
    found = run_scorer(TaylorWeight(variant=variant, average="sample"), context).scores
    for name in ("0", "4", "7", "9"):
        weight = value(model, f"{name}.weight")
        squares = [(gradients(model, *one)[f"{name}.weight"] * weight) ** 2 for one in context.batches(1)]
        agree(record_property, "taylor-weight", found[name], sum(squares) / 20, rel=1e-4, absolute=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_fisher_of_weights_equals_the_loop_over_samples(chunk: int, record_property: Record) -> None:
    model, context = setting("weight")
    found = run_scorer(Fisher(chunk=chunk), context).scores
    expected = {name: torch.zeros_like(score) for name, score in found.items()}
    for inputs, labels in context.batches(1):
        gradient = gradients(model, inputs, labels)
        for name, total in expected.items():
            total += (gradient[f"{name}.weight"] * value(model, f"{name}.weight")) ** 2 / 2 / 20
    for name, score in found.items():
        agree(record_property, "fisher", score, expected[name], rel=1e-4, absolute=1e-10)


def smooth_setting(granularity: str = "weight") -> tuple[nn.Sequential, ScoringContext]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3, bias=False)).double()
    inputs, labels = tiny_samples(12, (3,))
    return model, context_for(model, inputs.double(), labels, batch_size=5, granularity=granularity)


def exact_hessian(
    model: nn.Module, context: ScoringContext, temperature: float = 1.0
) -> tuple[Tensor, Tensor, list[str]]:
    """The Hessian and the gradient for the two weights, flat."""
    inputs, labels = full_batch(context)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    names = ["0.weight", "2.weight"]
    start = torch.cat([parameters[name].flatten() for name in names])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([12, 12])
        values = parameters | {n: p.reshape(parameters[n].shape) for n, p in zip(names, parts, strict=True)}
        return functional.cross_entropy(functional_call(model, values, (inputs,)) / temperature, labels)

    hessian = torch.autograd.functional.hessian(loss, start)
    gradient = torch.autograd.functional.jacobian(loss, start)
    return hessian, gradient, names


def flat_weights(model: nn.Sequential) -> Tensor:
    return torch.cat([model[0].weight.flatten(), model[2].weight.flatten()]).detach()


def flat(scores: dict[str, Tensor]) -> Tensor:
    return torch.cat([scores["0"].flatten(), scores["2"].flatten()])


def test_a_full_set_of_orthogonal_signs_gives_the_exact_diagonal(record_property: Record) -> None:
    model, context = smooth_setting()
    hessian, _, _ = exact_hessian(model, context)
    signs = torch.from_numpy(hadamard(32)).double()[:, :24] * flat_weights(model)
    vectors = {"0": signs[:, :12].reshape(32, 4, 3), "2": signs[:, 12:].reshape(32, 3, 4)}
    products = hessian_products(context, vectors)
    found = {name: 0.5 * (vectors[name] * products[name]).mean(0) for name in vectors}
    exact = 0.5 * hessian.diagonal() * flat_weights(model) ** 2
    agree(record_property, "obd", flat(found), exact, rel=1e-8, absolute=1e-12)


def test_obd_converges_to_the_exact_score(monkeypatch: pytest.MonkeyPatch) -> None:
    model, context = smooth_setting()
    hessian, _, _ = exact_hessian(model, context)
    exact = 0.5 * hessian.diagonal() * flat_weights(model) ** 2
    monkeypatch.setattr(obd, "precise", lambda *_: False)

    def error(probes: int) -> float:
        found = flat(run_scorer(Obd(probes=probes), context).scores)
        return float((found - exact).norm() / exact.norm())

    assert error(4000) < 0.03
    assert error(4) > error(4000)


def test_obd_of_units_is_the_sum_over_their_weights() -> None:
    """With the same draws, to rounding."""
    _, weights = smooth_setting("weight")
    _, units = smooth_setting("unit")
    both = weights.layers
    units.layers = both
    expected = run_scorer(Obd(probes=8), weights).scores
    found = Obd(probes=8).score(units)
    for name, score in expected.items():
        torch.testing.assert_close(found[name], score.sum(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("granularity", "smooth"), [("unit", True), ("unit", False), ("weight", False)])
def test_obd_draws_until_it_is_precise(
    granularity: str, smooth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule, from all draws at once."""
    draws: list[Tensor] = []
    original = Obd._draws

    def kept(self: Obd, context: ScoringContext, count: int) -> Tensor:
        draws.append(original(self, context, count))
        return draws[-1]

    monkeypatch.setattr(Obd, "_draws", kept)
    _, context = smooth_setting(granularity) if smooth else setting(granularity)
    scores = run_scorer(Obd(), context).scores
    every = torch.cat(draws)
    torch.testing.assert_close(
        torch.cat([score.flatten() for score in scores.values()]).double(),
        every.mean(0),
        rtol=1e-4,
        atol=1e-8,
    )

    def precise(values: Tensor) -> bool:
        errors = values.std(0) / len(values) ** 0.5
        return float(errors.median()) <= 0.1 * float(values.mean(0).std(correction=0))

    assert len(every) == 256 or precise(every)
    assert (len(every) < 256) is smooth
    sizes = torch.tensor([len(part) for part in draws]).cumsum(0).tolist()
    assert sizes[0] == 8
    assert not any(precise(every[:size]) for size in sizes[:-1])


@pytest.mark.parametrize(("spread", "enough"), [(0.9, True), (1.1, False)])
def test_a_tenth_of_the_standard_deviation_is_precise(spread: float, enough: bool) -> None:
    """50 draws of two values around each score, whose standard error is `spread` tenths of the deviation."""
    mean = torch.arange(9.0, dtype=torch.float64) ** 2
    error = 0.1 * spread * float(mean.std(correction=0))
    signs = torch.tensor([1.0, -1.0] * 25, dtype=torch.float64)[:, None]
    values = mean + signs * error * 49**0.5  # their variance, with 49 in the denominator, is 50 error^2
    assert torch.allclose(values.std(0) / 50**0.5, torch.full((9,), error, dtype=torch.float64))
    squares = ((values - mean) ** 2).sum(0)
    assert obd.precise(values.mean(0), squares, 50) is enough


def test_obd_draws_no_more_than_it_may() -> None:
    _, context = setting("weight")
    few, fewer = Obd(probes=5), Obd(probes=3, fewest=2)
    assert [few._next(context, drawn) for drawn in (0, 4)] == [5, 1]
    assert [fewer._next(context, drawn) for drawn in (0, 2)] == [2, 1]
    assert [Obd()._next(context, drawn) for drawn in (0, 8, 16, 250)] == [8, 8, 16, 6]


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_equals_the_exact_hessian_times_the_gradient(
    temperature: float, record_property: Record
) -> None:
    model, context = smooth_setting()
    hessian, gradient, _ = exact_hessian(model, context, temperature)
    found = run_scorer(Grasp(temperature=temperature), context).scores
    want = flat_weights(model) * (hessian @ gradient)
    agree(record_property, "grasp", flat(found), want, rel=1e-7, absolute=1e-14)


def test_grasp_divides_the_logits_by_200_unless_told_otherwise() -> None:
    _, context = smooth_setting()
    given = flat(run_scorer(Grasp(temperature=200), context).scores)
    assert torch.equal(flat(run_scorer(Grasp(), context).scores), given)
    assert not torch.allclose(flat(run_scorer(Grasp(temperature=1), context).scores), given, rtol=0.1)


def batch_loss(model: nn.Module, parameters: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    """The loss of `tiny_convnet` with the batch's own statistics, written out."""
    p = parameters
    x = functional.conv2d(inputs, p["0.weight"], p["0.bias"], padding=1)
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    x = (x - mean) / (variance + model[1].eps).sqrt()
    x = x * p["1.weight"][:, None, None] + p["1.bias"][:, None, None]
    x = torch.relu(functional.conv2d(functional.max_pool2d(torch.relu(x), 2), p["4.weight"])).flatten(1)
    x = functional.linear(torch.relu(functional.linear(x, p["7.weight"], p["7.bias"])), p["9.weight"])
    return functional.cross_entropy(x + p["9.bias"], labels)


def training_setting(at_init: bool, count: int = 20) -> tuple[nn.Module, ScoringContext]:
    model = tiny_convnet().double()
    inputs, labels = tiny_samples(count)
    return model, context_for(
        model, inputs.double(), labels, batch_size=8, granularity="weight", at_init=at_init
    )


def expected_in_training(
    model: nn.Module, context: ScoringContext, batches: list[tuple[Tensor, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights, by name, times the gradient and times the Hessian times the gradient."""
    parameters = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    names = [f"{layer.name}.weight" for layer in context.layers]
    shares = [len(labels) / context.samples for _, labels in batches]
    total = sum(s * batch_loss(model, parameters, *b) for s, b in zip(shares, batches, strict=True))
    first = torch.autograd.grad(total, [parameters[name] for name in names], create_graph=True)
    norm = sum((gradient * gradient.detach()).sum() for gradient in first)
    second = torch.autograd.grad(norm, [parameters[name] for name in names])
    keys = [name.removesuffix(".weight") for name in names]
    weights = [parameters[name].detach() for name in names]
    return (
        {key: (w * g).detach() for key, w, g in zip(keys, weights, first, strict=True)},
        {key: w * g for key, w, g in zip(keys, weights, second, strict=True)},
    )


@pytest.mark.parametrize("count", [20, 17])
def test_at_init_batch_norms_use_the_batch(count: int, record_property: Record) -> None:
    """With 17 samples a last one would be alone: it joins the batch before it."""
    model, context = training_setting(at_init=True, count=count)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batches = list(context.batches())
    if count == 17:
        (first, one), (second, two) = batches[1:]
        batches = [batches[0], (torch.cat([first, second]), torch.cat([one, two]))]
    slopes, curves = expected_in_training(model, context, batches)
    total = sum(float(slope.abs().sum()) for slope in slopes.values())
    snip = run_scorer(Snip(), context).scores
    grasp = run_scorer(Grasp(temperature=1), context).scores
    for name in slopes:
        agree(record_property, "snip", snip[name], slopes[name].abs() / total, rel=1e-6, absolute=1e-10)
        agree(record_property, "grasp", grasp[name], curves[name], rel=1e-6, absolute=1e-10)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("scorer", [Snip, Grasp])
def test_auto_is_train_at_init_and_eval_on_a_trained_network(scorer: type[Scorer]) -> None:
    def scores(at_init: bool, batch_norm: str) -> Tensor:
        found = run_scorer(scorer(batch_norm=batch_norm), training_setting(at_init)[1]).scores
        return torch.cat([score.flatten() for score in found.values()])

    assert torch.equal(scores(True, "auto"), scores(False, "train"))
    assert torch.equal(scores(False, "auto"), scores(True, "eval"))
    assert not torch.allclose(scores(True, "auto"), scores(True, "eval"), rtol=0.01)


def test_snip_is_the_normalised_sensitivity_of_the_whole_data(record_property: Record) -> None:
    model, context = setting("weight")
    found = run_scorer(Snip(), context).scores
    gradient = gradients(model, *full_batch(context))
    raw = {n: (gradient[f"{n}.weight"] * model.get_parameter(f"{n}.weight").detach()).abs() for n in found}
    total = sum(float(score.sum()) for score in raw.values())
    for name, score in found.items():
        agree(record_property, "snip", score, raw[name] / total, rel=1e-4, absolute=1e-9)
    assert sum(float(score.sum()) for score in found.values()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("scorer", [Snip, Grasp])
def test_the_batch_size_does_not_matter(scorer: type[Scorer]) -> None:
    model = tiny_convnet()
    one, other = (context_for(model, *tiny_samples(), batch_size=size) for size in (20, 3))
    first, second = run_scorer(scorer(), one).scores, run_scorer(scorer(), other).scores
    for name, score in first.items():
        torch.testing.assert_close(score, second[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scorer", [TaylorWeight, Fisher, Snip, SynFlow])
def test_a_dead_unit_scores_lowest(scorer: type[Scorer]) -> None:
    model = tiny_convnet()
    with torch.no_grad():
        for part in (model[0].weight, model[0].bias, model[1].weight, model[1].bias):
            part[2] = 0
    score = run_scorer(scorer(), setting(model=model)[1]).scores["0"]
    assert float(score[2]) == pytest.approx(0, abs=1e-12)
    assert all(float(score[unit]) > 0 for unit in range(6) if unit != 2)


@pytest.mark.parametrize("scorer", [Obd, Grasp])
def test_a_dead_unit_scores_zero_between_the_signs(scorer: type[Scorer]) -> None:
    model = tiny_convnet()
    with torch.no_grad():
        for part in (model[0].weight, model[0].bias, model[1].weight, model[1].bias):
            part[2] = 0
    score = run_scorer(scorer(), setting(model=model)[1]).scores["0"]
    assert float(score[2]) == 0
    assert sum(float(s) == 0 for s in score) == 1


def flow(model: nn.Module, shape: tuple[int, ...], masks: dict[str, Tensor]) -> dict[str, Tensor]:
    copy = tiny_convnet() if shape == (2, 8, 8) else tiny_mlp()
    copy.load_state_dict(model.state_dict())
    copy.double()
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.abs_()
        for name, mask in masks.items():
            copy.get_parameter(name).mul_(mask)
    copy(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    return {name: (p * p.grad).abs().detach() for name, p in copy.named_parameters()}


def test_one_round_of_synflow_is_the_flow(record_property: Record) -> None:
    model, context = setting("weight")
    found = run_scorer(SynFlow(rounds=1), context).scores
    expected = flow(model, (2, 8, 8), {})
    for name, score in found.items():
        agree(record_property, "synflow", score, expected[f"{name}.weight"], rel=1e-9)
    units = run_scorer(SynFlow(rounds=1), setting("unit")[1]).scores["4"]
    torch.testing.assert_close(units, expected["4.weight"].flatten(1).sum(1), rtol=1e-9, atol=0)


def test_synflow_is_conserved_between_layers() -> None:
    # Without biases, and with activations that do not change positive values, each layer has the same flow.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 5, bias=False), nn.ReLU())
    model.append(nn.Linear(5, 3, bias=False))
    context = context_for(model, *tiny_samples(4, (4,)), granularity="weight")
    sums = [float(score.sum()) for score in run_scorer(SynFlow(rounds=1), context).scores.values()]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)


def test_rounds_of_synflow_remove_exponentially(record_property: Record) -> None:
    model, context = setting("weight")
    rounds, density = 6, 0.1
    found = torch.cat(
        [s.flatten() for s in run_scorer(SynFlow(rounds=rounds, density=density), context).scores.values()]
    )
    names = ["0", "4", "7", "9"]
    shapes = [model.get_parameter(f"{name}.weight").shape for name in names]
    sizes = [shape.numel() for shape in shapes]
    total = sum(sizes)
    left, order = list(range(total)), []
    for number in range(1, rounds + 1):
        mask = torch.zeros(total)
        mask[left] = 1
        masks = {
            f"{n}.weight": part.reshape(shape)
            for n, part, shape in zip(names, mask.split(sizes), shapes, strict=True)
        }
        scores = flow(model, (2, 8, 8), masks)
        flat = torch.cat([scores[f"{name}.weight"].flatten() for name in names]).tolist()
        left.sort(key=lambda place: flat[place])
        keep = round(total * density ** (number / rounds))
        gone = left if number == rounds else left[: len(left) - keep]
        order += gone
        left = left[len(gone) :]
    places = torch.empty(total, dtype=torch.float64)
    places[order] = torch.arange(total, dtype=torch.float64) / (total - 1)
    agree(record_property, "synflow", found, places, rel=1e-7, absolute=1e-7)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.last = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.mix(x.unflatten(1, (2, 4)))[:, None].chunk(3, -1)
        return self.last(functional.scaled_dot_product_attention(query, key, value).mean((1, 2)))


@pytest.mark.parametrize("scorer", [Obd, Grasp, Fisher])
def test_attention_is_served(scorer: type[Scorer]) -> None:
    context = context_for(Attention(), *tiny_samples(8, (8,)), granularity="weight")
    assert float(run_scorer(scorer(), context).scores["mix"].abs().sum()) > 0
