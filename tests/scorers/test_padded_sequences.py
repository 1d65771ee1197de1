"""Recurrent layers over padded texts: packed or not, what is scored and counted does not hang on padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from benchsuite.contracts.inputs import TensorMap, take_by_name
from benchsuite.errors import Unsupported
from benchsuite.metrics.cost import measure_cost
from benchsuite.pruning.plain_form import make_plain
from benchsuite.pruning.tracing.trace import trace
from benchsuite.scoring.check import run_scorer
from benchsuite.scoring.context import ScoringContext
from benchsuite_scorers.fisher import Fisher
from benchsuite_scorers.registration import MagnitudeL2, Wanda

STEPS, UNITS = 9, 12


class Texts(nn.Module):
    """An LSTM over embedded words, which reads the last state of a packed sequence."""

    def __init__(self, packed: str) -> None:
        super().__init__()
        self.packed = packed
        self.words, self.lstm = nn.Embedding(20, 8), nn.LSTM(8, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words: Any = self.words(input_ids)
        if self.packed == "always" or (self.packed == "where padded" and not bool(attention_mask.all())):
            lengths = attention_mask.sum(1).cpu()
            words = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        scores: Tensor = self.head(self.lstm(words)[1][0][-1])
        return scores


def texts(*lengths: int) -> TensorMap:
    generator = torch.Generator().manual_seed(2)
    mask = (torch.arange(STEPS) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(1, 20, (len(lengths), STEPS), generator=generator) * mask
    return TensorMap({"input_ids": ids, "attention_mask": mask}, "attention_mask")


def network(packed: str) -> Texts:
    torch.manual_seed(0)
    model = Texts(packed).eval()
    take_by_name(model)
    return model


def context_of(model: nn.Module, inputs: TensorMap, granularity: Any) -> ScoringContext:
    graph = trace(model, inputs)
    layers = graph.layers if granularity == "unit" else graph.weight_layers
    labels = torch.arange(len(inputs)) % 3
    return ScoringContext(
        model, layers, inputs, labels, groups=graph.groups, batch_size=4, granularity=granularity
    )


@pytest.mark.parametrize("packed", ["always", "never", "where padded"])
def test_costs_are_those_of_whole_texts_however_long_the_first_is(packed: str) -> None:
    costs = {measure_cost(network(packed), texts(*lengths)) for lengths in ((9, 3), (3, 9), (1, 1))}
    assert {cost.macs for cost in costs} == {STEPS * 4 * UNITS * (8 + UNITS) + 3 * UNITS}


@pytest.mark.parametrize("lengths", [(9, 9), (9, 3), (3, 9)])
def test_a_layer_that_is_packed_where_there_is_padding_is_left_as_it_is(lengths: tuple[int, int]) -> None:
    model = network("where padded")
    make_plain(model, texts(*lengths))
    assert isinstance(model.lstm, nn.LSTM)
    assert model(texts(9, 4, 2)).shape == (3, 3)
    plain = network("never")
    make_plain(plain, texts(*lengths))
    assert not isinstance(plain.lstm, nn.LSTM)


def test_gradients_of_single_samples_of_a_packed_network_are_its_own() -> None:
    model, inputs = network("always"), texts(9, 4, 2, 7, 5)
    context = context_of(model, inputs, "weight")
    found = run_scorer(Fisher(), context).scores["head"]
    expected = torch.zeros(3, UNITS)
    for batch, labels in context.batches(1):
        loss = context.loss(model(batch), labels)
        (gradient,) = torch.autograd.grad(loss, [model.head.weight])
        expected += (gradient * model.head.weight.detach()) ** 2 / len(inputs) / 2
    assert torch.allclose(found / found.sum(), expected / expected.sum(), atol=1e-5)


def test_wanda_refuses_what_it_cannot_read_beside_padding() -> None:
    model = network("never")
    make_plain(model, texts(9, 3))
    with pytest.raises(Unsupported, match="a recurrent layer reads beside padding is not known"):
        run_scorer(Wanda(), context_of(model, texts(9, 4, 2, 7), "weight"))
    assert "lstm.l0" in run_scorer(Wanda(), context_of(model, texts(9, 9, 9, 9), "weight")).scores
    assert "lstm.l0" in run_scorer(MagnitudeL2(), context_of(model, texts(9, 4, 2, 7), "unit")).scores
