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
from benchsuite_scorers._curvature import hessian_diagonal
from benchsuite_scorers.registration import Fisher, Grasp, Obd, Snip, SynFlow, TaylorWeight

if TYPE_CHECKING:
    from deviations import Record

    from benchsuite import Scorer, ScoringContext

OWN = {"0": ("0.weight", "0.bias", "1.weight", "1.bias"), "4": ("4.weight",), "7": ("7.weight", "7.bias")}


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


def test_taylor_weight_of_units_sums_before_squaring(record_property: Record) -> None:
    model, context = setting()
    found = run_scorer(TaylorWeight(), context).scores
    batches = list(context.batches())
    for name, own in OWN.items():
        expected = torch.zeros(len(found[name]))
        for inputs, labels in batches:
            gradient = gradients(model, inputs, labels)
            for unit in range(len(expected)):
                change = sum(float((gradient[key][unit] * value(model, key)[unit]).sum()) for key in own)
                expected[unit] += change**2 / len(batches)
        agree(record_property, "taylor-weight", found[name], expected, rel=1e-4, absolute=1e-9)


def test_taylor_weight_of_weights_sees_every_batch(record_property: Record) -> None:
    model, context = setting("weight")
    found = run_scorer(TaylorWeight(), context).scores
    batches = list(context.batches())
    for name in ("0", "4", "7", "9"):
        weight = model.get_parameter(f"{name}.weight").detach()
        squares = [(gradients(model, *batch)[f"{name}.weight"] * weight) ** 2 for batch in batches]
        expected = sum(squares) / len(batches)
        agree(record_property, "taylor-weight", found[name], expected, rel=1e-5, absolute=1e-10)


@pytest.mark.parametrize("granularity", ["unit", "weight"])
@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_fisher_equals_the_loop_over_samples(granularity: str, chunk: int, record_property: Record) -> None:
    model, context = setting(granularity)
    found = run_scorer(Fisher(chunk=chunk), context).scores
    expected = {name: torch.zeros_like(score) for name, score in found.items()}
    for inputs, labels in context.batches(1):
        gradient = gradients(model, inputs, labels)
        for name, total in expected.items():
            change = gradient[f"{name}.weight"] * model.get_parameter(f"{name}.weight").detach()
            if granularity == "unit":
                change = change.flatten(1).sum(1)
                if name != "4":
                    change += gradient[f"{name}.bias"] * model.get_parameter(f"{name}.bias").detach()
            total += change**2 / 2 / 20
    for name, score in found.items():
        agree(record_property, "fisher", score, expected[name], rel=1e-4, absolute=1e-10)


def smooth_setting(granularity: str = "weight") -> tuple[nn.Sequential, ScoringContext]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3, bias=False)).double()
    inputs, labels = tiny_samples(12, (3,))
    return model, context_for(model, inputs.double(), labels, batch_size=5, granularity=granularity)


def exact_hessian(model: nn.Module, context: ScoringContext) -> tuple[Tensor, Tensor, list[str]]:
    """The Hessian and the gradient for the two weights, flat."""
    inputs, labels = full_batch(context)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    names = ["0.weight", "2.weight"]
    start = torch.cat([parameters[name].flatten() for name in names])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([12, 12])
        values = parameters | {n: p.reshape(parameters[n].shape) for n, p in zip(names, parts, strict=True)}
        return functional.cross_entropy(functional_call(model, values, (inputs,)), labels)

    hessian = torch.autograd.functional.hessian(loss, start)
    gradient = torch.autograd.functional.jacobian(loss, start)
    return hessian, gradient, names


def test_a_full_set_of_orthogonal_signs_gives_the_exact_diagonal(record_property: Record) -> None:
    model, context = smooth_setting()
    hessian, _, _ = exact_hessian(model, context)
    signs = torch.from_numpy(hadamard(32)).double()[:, :24]
    probes = {"0": signs[:, :12].reshape(32, 4, 3), "2": signs[:, 12:].reshape(32, 3, 4)}
    found = hessian_diagonal(context, probes)
    flat = torch.cat([found["0"].flatten(), found["2"].flatten()])
    agree(record_property, "obd", flat, hessian.diagonal(), rel=1e-8, absolute=1e-12)


def test_obd_converges_to_the_exact_score() -> None:
    model, context = smooth_setting()
    hessian, _, _ = exact_hessian(model, context)
    exact = (
        0.5
        * hessian.diagonal()
        * torch.cat([model[0].weight.flatten(), model[2].weight.flatten()]).detach() ** 2
    )
    few = run_scorer(Obd(probes=4), context).scores
    many = run_scorer(Obd(probes=4000), context).scores

    def error(scores: dict[str, Tensor]) -> float:
        flat = torch.cat([scores["0"].flatten(), scores["2"].flatten()])
        return float((flat - exact).norm() / exact.norm())

    assert error(many) < 0.05
    assert error(few) > error(many)


def test_obd_of_units_is_the_sum_over_their_weights() -> None:
    _, weights = smooth_setting("weight")
    _, units = smooth_setting("unit")
    expected = run_scorer(Obd(probes=20000), weights).scores["0"].sum(1)
    found = run_scorer(Obd(probes=20000), units).scores["0"]
    torch.testing.assert_close(found, expected, rtol=0.05, atol=1e-4)


def test_grasp_equals_the_exact_hessian_times_the_gradient(record_property: Record) -> None:
    model, context = smooth_setting()
    hessian, gradient, _ = exact_hessian(model, context)
    flat = torch.cat([model[0].weight.flatten(), model[2].weight.flatten()]).detach()
    found = run_scorer(Grasp(), context).scores
    scores = torch.cat([found["0"].flatten(), found["2"].flatten()])
    agree(record_property, "grasp", scores, flat * (hessian @ gradient), rel=1e-7, absolute=1e-12)


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
