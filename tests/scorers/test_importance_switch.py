from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from deviations import agree
from scipy.optimize import minimize
from scipy.special import digamma, gammaln
from torch import Tensor, nn
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional

from benchsuite.scoring.check import run_scorer
from benchsuite.testing import TinyResidual, context_for, tiny_convnet, tiny_samples
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
    return model, context_for(model, inputs, labels, batch_size=60)


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


def by_full_passes(context: ScoringContext, layer: str, epochs: int) -> Tensor:
    """The same optimisation with a hook on the layer and full passes."""
    module, model = context.model.get_submodule(layer), context.model
    log_phi = torch.zeros(context.layer(layer).units, requires_grad=True)
    optimiser = torch.optim.Adam([log_phi], lr=0.1)
    for _ in range(epochs):
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


def test_the_rest_of_the_network_learns_what_full_passes_learn() -> None:
    context = context_for(TinyResidual(), *tiny_samples(20), batch_size=8)
    found = run_scorer(ImportanceSwitch(epochs=5), context).scores
    for layer in ("stem", "branch", "bare"):
        torch.testing.assert_close(found[layer], by_full_passes(context, layer, 5), rtol=1e-4, atol=1e-6)


def test_order_decides_which_switches_stay_in_place() -> None:
    context = context_for(tiny_convnet(), *tiny_samples(20), batch_size=8)
    alone, forward, backward = (
        run_scorer(ImportanceSwitch(epochs=3, order=order), context).scores
        for order in ("alone", "forward", "backward")
    )
    assert torch.equal(alone["0"], forward["0"])
    assert not torch.equal(alone["7"], forward["7"])
    assert torch.equal(alone["7"], backward["7"])
    assert not torch.equal(alone["0"], backward["0"])
