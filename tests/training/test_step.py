"""What trains with weight decay: the same as built and in the form that is pruned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchsuite.pruning.plain_form import make_plain
from benchsuite.training.step import by_decay


class Sequences(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: bool) -> None:
        super().__init__()
        self.first, self.recurrent = nn.Linear(5, 6), kind(6, 7, num_layers=2, batch_first=True, **options)
        self.head = nn.Linear(7 * (1 + self.recurrent.bidirectional), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.recurrent(self.first(x))[0].mean(1))
        return out


def maps() -> nn.Module:
    layers = (nn.ConvTranspose2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4 * 16, 3))


NETWORKS = {
    "lstm": (lambda: Sequences(nn.LSTM), (2, 4, 5)),
    "gru": (lambda: Sequences(nn.GRU, bidirectional=True), (2, 4, 5)),
    "rnn": (lambda: Sequences(nn.RNN, bias=False), (2, 4, 5)),
    "maps": (maps, (2, 2, 4, 4)),
    "attention": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), nn.Flatten(), nn.Linear(24, 3)
        ),
        (2, 3, 8),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_numbers_decay_in_the_form_that_is_pruned(name: str) -> None:
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = build()
    before = [sum(p.numel() for p in part) for part in by_decay(model)]
    form = make_plain(model.eval(), torch.randn(shape))
    assert form.recurrent or form.units_first or form.separated
    assert [sum(p.numel() for p in part) for part in by_decay(model)] == before
