"""Every shipped criterion on a network for texts: what is at padding decides nothing."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch

import benchsuite
from benchsuite.contracts.inputs import TensorMap, take_by_name
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite.testing import tiny_trace
from benchsuite_models.nets.text_encoder import TextEncoder
from benchsuite_scorers.fisher import Fisher
from benchsuite_scorers.registration import SCORERS
from benchsuite_scorers.taylor_weight import TaylorWeight

if TYPE_CHECKING:
    from benchsuite.pruning.graph import PruningGraph

VOCABULARY, STEPS, CLASSES, SAMPLES = 20, 6, 3, 24
UNSERVED = {
    "apoz": "is not exactly zero for negative input",
    "bn-scale": "no batch normalisation with a scale follows",
    "hrank": "all its units have the rank 1",
    "synflow": "token ids and masks",
}
"""Criteria that serve no layer of the network, and what they say."""
CHEAPER = {"shapley": {"permutations": 4}, "obd": {"probes": 8, "fewest": 4}}
DRAWN = {"thinet"}
"""Those that sample places of maps: with more padding they sample others."""


def texts(fill: int = 0, more: int = 0) -> tuple[TensorMap, torch.Tensor]:
    """Texts of any length, with some id at the positions of padding, and with more of these."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(3, VOCABULARY, (SAMPLES, STEPS), generator=generator)
    lengths = torch.randint(2, STEPS + 1, (SAMPLES,), generator=generator)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    ids = torch.cat([ids, torch.zeros(SAMPLES, more, dtype=torch.int64)], 1)
    mask = (torch.arange(STEPS + more) < lengths[:, None]).long()
    return TensorMap(
        {"input_ids": ids * mask + fill * (1 - mask), "attention_mask": mask}, "attention_mask"
    ), labels


@cache
def network_and_graph() -> tuple[TextEncoder, PruningGraph]:
    torch.manual_seed(3)
    model = TextEncoder(VOCABULARY, STEPS + 4, CLASSES, width=8, heads=2, hidden=10, blocks=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    take_by_name(model)
    return model.eval(), trace(model, texts()[0])


def scores(
    scorer: benchsuite.Scorer, inputs: TensorMap, labels: torch.Tensor, granularity: str
) -> dict[str, torch.Tensor]:
    model, graph = network_and_graph()
    context = ScoringContext(
        model,
        graph.layers if granularity == "unit" else graph.weight_layers,
        inputs,
        labels,
        groups=graph.groups,
        batch_size=10,
        granularity=granularity,  # type: ignore[arg-type]  # one of both
        trace=tiny_trace(model),
        target=0.5 if scorer.needs_target else None,
    )
    return run_scorer(scorer, context).scores


CASES = [
    (scorer, granularity)
    for scorer in SCORERS
    for granularity in (("unit",) if scorer.granularity == "unit" else ("unit", "weight"))
]


@pytest.mark.parametrize(("kind", "granularity"), CASES, ids=lambda case: getattr(case, "name", case))
def test_padding_decides_nothing(kind: type[benchsuite.Scorer], granularity: str) -> None:
    scorer = kind()
    for name, value in CHEAPER.get(kind.name, {}).items():
        setattr(scorer, name, value)
    if kind.name in UNSERVED:
        with pytest.raises(benchsuite.Unsupported, match=UNSERVED[kind.name]):
            scores(scorer, *texts(), granularity)
        return
    expected = scores(scorer, *texts(), granularity)
    assert expected
    others = [texts(fill=7)] if kind.name in DRAWN else [texts(fill=7), texts(more=3)]
    for inputs, labels in others:
        found = scores(scorer, inputs, labels, granularity)
        assert found.keys() == expected.keys()
        for name, score in expected.items():
            scale = float(score.abs().max()) or 1.0
            assert float((found[name] - score).abs().max()) <= 2e-4 * scale, name


def test_the_table_of_a_text_is_that_of_the_text_alone() -> None:
    (model, graph), (inputs, labels) = network_and_graph(), texts()
    context = ScoringContext(model, graph.layers, inputs, labels, groups=graph.groups, batch_size=10)
    table = context.activations("mean")
    chosen = context.raw_samples["inputs/input_ids"]
    lengths = context.raw_samples["inputs/attention_mask"].sum(1)
    for row, (ids, length) in enumerate(zip(chosen, lengths.tolist(), strict=True)):
        seen: dict[str, torch.Tensor] = {}
        hook = model.blocks[0].hidden.register_forward_hook(
            lambda _module, _inputs, output, seen=seen: seen.update(hidden=torch.nn.functional.gelu(output))
        )
        with torch.no_grad():
            model(input_ids=ids[None, :length], attention_mask=torch.ones(1, length))
        hook.remove()
        assert torch.allclose(table["blocks.0.hidden"][row], seen["hidden"][0].mean(0), atol=1e-5)


class Looking(TextEncoder):
    """Looks at the numbers of its mask, as much code does to save work where nothing is padded."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if bool(attention_mask.all()):
            attention_mask = torch.ones_like(attention_mask)
        return super().forward(input_ids, attention_mask)


@pytest.mark.parametrize(
    "scorer", [Fisher(), TaylorWeight(average="sample")], ids=["fisher", "taylor-weight"]
)
def test_gradients_of_samples_are_those_of_a_network_that_looks_at_no_number(
    scorer: benchsuite.Scorer,
) -> None:
    model, graph = network_and_graph()
    looking = Looking(VOCABULARY, STEPS + 4, CLASSES, width=8, heads=2, hidden=10, blocks=2)
    looking.load_state_dict(model.state_dict())
    take_by_name(looking)
    found = []
    for each in (model, looking):
        layers = trace(each, texts()[0]).weight_layers
        context = ScoringContext(each, layers, *texts(), batch_size=10, granularity="weight")
        found.append(run_scorer(scorer, context).scores)
    assert found[0].keys() == found[1].keys() == {layer.name for layer in graph.weight_layers}
    for name, score in found[0].items():
        assert torch.allclose(found[1][name], score, rtol=1e-3, atol=1e-6 * float(score.abs().max())), name
