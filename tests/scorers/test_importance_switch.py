from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import torch
from deviations import agree
from grouped import Coupled, grouped
from scipy.optimize import minimize
from scipy.special import digamma, gammaln
from torch import Tensor, nn
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional

from benchsuite.scoring.check import run_scorer
from benchsuite.testing import tiny_convnet, tiny_samples
from benchsuite_scorers.importance_switch import dirichlet_divergence
from benchsuite_scorers.registration import ImportanceSwitch

if TYPE_CHECKING:
    from deviations import Record

    from benchsuite import ScoringContext


@pytest.mark.parametrize("alpha0", [0.1, 1.0, 3.0])
def test_divergence_equals_torchs_and_vanishes_at_the_prior(alpha0: float) -> None:
    phi = torch.tensor([0.3, 2.0, 5.0, 0.9], dtype=torch.float64)
    expected = kl_divergence(Dirichlet(phi), Dirichlet(torch.full_like(phi, alpha0)))
    torch.testing.assert_close(dirichlet_divergence(phi, alpha0), expected)
    prior = torch.full_like(phi, alpha0)
    assert float(dirichlet_divergence(prior, alpha0)) == pytest.approx(0, abs=1e-12)


def small_setting() -> tuple[nn.Sequential, ScoringContext]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.mul_(3)
        model[2].weight.mul_(4)
    inputs, _ = tiny_samples(60, (2,), 2)
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    return model, grouped(model, inputs, labels, batch_size=60)[0]


def best_mean(model: nn.Sequential, context: ScoringContext, alpha0: float) -> np.ndarray:
    """The maximum of the lower bound, computed with numpy and scipy."""
    (inputs, labels), *_ = context.batches()
    first, last = ({k: v.detach().double().numpy() for k, v in model[i].named_parameters()} for i in (0, 2))
    before = inputs.double().numpy() @ first["weight"].T + first["bias"]
    rows, truth = np.arange(len(labels)), labels.numpy()

    def negative_bound(log_phi: np.ndarray) -> float:
        phi = np.exp(log_phi)
        outputs = np.tanh(before * phi / phi.sum()) @ last["weight"].T + last["bias"]
        likelihood = (outputs[rows, truth] - np.log(np.exp(outputs).sum(1))).sum()
        divergence = gammaln(phi.sum()) - gammaln(3 * alpha0) - gammaln(phi).sum() + 3 * gammaln(alpha0)
        divergence += ((phi - alpha0) * (digamma(phi) - digamma(phi.sum()))).sum()
        return float(divergence - likelihood)

    options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 5000}
    found = minimize(negative_bound, np.log([alpha0] * 3), method="Nelder-Mead", options=options)
    phi = np.exp(found.x)
    return phi / phi.sum()


@pytest.mark.parametrize("alpha0", [0.5, 2.0])
def test_the_learnt_switch_maximises_the_bound(alpha0: float, record_property: Record) -> None:
    model, context = small_setting()
    expected = best_mean(model, context, alpha0)
    found = run_scorer(ImportanceSwitch(alpha0=alpha0, epochs=600, learning_rate=0.05), context).scores["0"]
    agree(record_property, "importance-switch", found, expected, rel=0, absolute=2e-3)
    assert np.ptp(expected) > 0.1
    assert float(found.sum()) == pytest.approx(1.0)


class Switched(Coupled):
    """The same network with a switch for each coupled group, written out."""

    def __init__(self, **switches: Tensor) -> None:
        super().__init__()
        self.switches = switches

    def switch(self, name: str, values: Tensor) -> Tensor:
        return values * self.switches[name][:, None, None] if name in self.switches else values

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.switch("stem", self.stem_norm(self.stem(x))))
        y = self.branch_norm(self.branch(torch.relu(self.switch("inner", self.inner(x)))))
        y = torch.relu(self.switch("stem", y) + x)
        y = torch.tanh(self.switch("stem", self.depthwise_norm(self.depthwise(y))))
        y = torch.cat([torch.relu(self.switch("side", self.side(y))), y], 1)
        outputs: Tensor = self.last(functional.adaptive_avg_pool2d(y, 2).flatten(1))
        return outputs


def written_out(context: ScoringContext, group: str, size: int, epochs: int, **learnt: Tensor) -> Tensor:
    """The same optimisation with full passes through the network with explicit multiplications."""
    log_phi = torch.zeros(size, requires_grad=True)
    optimiser = torch.optim.Adam([log_phi], lr=0.1)
    for _ in range(epochs):
        for inputs, labels in context.batches():
            model = Switched(**learnt, **{group: log_phi.softmax(0)})
            loss = context.samples * functional.cross_entropy(model(inputs), labels)
            phi = log_phi.exp()
            divergence = kl_divergence(Dirichlet(phi), Dirichlet(torch.ones_like(phi)))
            (log_phi.grad,) = torch.autograd.grad(loss + divergence, log_phi)
            optimiser.step()
    return log_phi.detach().softmax(0)


@pytest.mark.parametrize("order", ["alone", "forward", "backward"])
def test_coupled_units_share_a_switch_behind_their_norms(
    order: Literal["alone", "forward", "backward"], record_property: Record
) -> None:
    context, graph = grouped(Coupled(), *tiny_samples(20), batch_size=8)
    found = run_scorer(ImportanceSwitch(epochs=4, order=order), context).scores
    groups = [("stem", 4), ("inner", 3), ("side", 3)]
    assert [(group.name, group.size) for group in graph.groups] == groups
    learnt: dict[str, Tensor] = {}
    for name, size in groups[::-1] if order == "backward" else groups:
        mean = written_out(context, name, size, 4, **({} if order == "alone" else learnt))
        learnt[name] = mean
        agree(record_property, "importance-switch", found[name], mean, rel=1e-4, absolute=1e-6)
    for member in graph.groups[0].members:
        assert torch.equal(found[member.layer], found["stem"])


def test_the_switch_stands_behind_the_norm() -> None:
    model = tiny_convnet()
    context, _ = grouped(model, *tiny_samples(20), batch_size=8)

    def learnt(module: nn.Module) -> Tensor:
        log_phi = torch.zeros(6, requires_grad=True)
        optimiser = torch.optim.Adam([log_phi], lr=0.1)
        for _ in range(3):
            for inputs, labels in context.batches():
                switch = log_phi.softmax(0)[:, None, None]
                handle = module.register_forward_hook(lambda m, i, output, switch=switch: output * switch)
                loss = context.samples * functional.cross_entropy(model(inputs), labels)
                handle.remove()
                phi = log_phi.exp()
                divergence = kl_divergence(Dirichlet(phi), Dirichlet(torch.ones_like(phi)))
                (log_phi.grad,) = torch.autograd.grad(loss + divergence, log_phi)
                optimiser.step()
        return log_phi.detach().softmax(0).double()

    found = run_scorer(ImportanceSwitch(epochs=3), context).scores["0"]
    torch.testing.assert_close(found, learnt(model[1]), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, learnt(model[0]), rtol=1e-2)


def test_order_decides_which_switches_stay_in_place() -> None:
    context, _ = grouped(tiny_convnet(), *tiny_samples(20), batch_size=8)
    default, alone, forward, backward = (
        run_scorer(ImportanceSwitch(epochs=3, **order), context).scores
        for order in ({}, {"order": "alone"}, {"order": "forward"}, {"order": "backward"})
    )
    assert all(torch.equal(default[name], alone[name]) for name in default)
    assert torch.equal(alone["0"], forward["0"])
    assert not torch.equal(alone["7"], forward["7"])
    assert torch.equal(alone["7"], backward["7"])
    assert not torch.equal(alone["0"], backward["0"])
    model = context.model
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
