"""A recurrent layer in one direction, whose weight has its hidden units first, as that of other layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
GATES: dict[Cell, int] = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class RecurrentLayer(nn.Module):
    """One layer of `nn.LSTM`, `nn.GRU` or `nn.RNN` in one direction, computed by torch's kernels.

    A hidden unit has a row in the matrix of each gate, and every gate reads the layer's inputs and the hidden
    units of the step before. Here all these rows are one, so that a unit is an entry of the first dimension:
    `weight[unit, i, gate]` multiplies input i, and `weight[unit, inputs + j, gate]` hidden unit j of the step
    before. The gates are in torch's order: LSTM input, forget, cell, output; GRU reset, update, new.

    Args:
        cell: what a step computes.
        weight: (units, inputs + units, gates).
        bias: (units, 2, gates), torch's `bias_ih` and `bias_hh` of each gate, or None.
        reverse: whether it goes from the last step to the first.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self, cell: Cell, weight: nn.Parameter, bias: nn.Parameter | None, *, reverse: bool = False
    ) -> None:
        super().__init__()
        self.cell, self.reverse = cell, reverse
        self.weight = weight
        self.register_parameter("bias", bias)

    @property
    def inputs(self) -> int:
        """How many features it reads at each step, beside its own units."""
        return self.weight.shape[1] - self.weight.shape[0]

    def forward(self, sequence: Tensor) -> Tensor:
        """The hidden units after each step, from zeros before the first one.

        Args:
            sequence: (samples, steps, inputs).

        Returns:
            (samples, steps, units).
        """
        given = sequence.flip(1) if self.reverse else sequence
        state = given.new_zeros(1, given.shape[0], self.weight.shape[0])
        weights = self._as_torch_has_them()
        if torch._C._functorch.peek_interpreter_stack() is not None:
            found = self._step_by_step(given, state[0], weights)  # `vmap` cannot take the kernels
        else:
            # cuDNN keeps what its gradient needs only in training, which changes nothing else here.
            options = (weights, self.bias is not None, 1, 0.0, torch.is_grad_enabled(), False, True)
            if self.cell == "lstm":
                found = torch._VF.lstm(given, (state, state), *options)[0]
            else:
                found = getattr(torch._VF, self.cell)(given, state, *options)[0]
        return found.flip(1) if self.reverse else found

    def reads(self, sequence: Tensor) -> Tensor:
        """What the weight is multiplied with at each step: the inputs, and the units of the step before.

        Args:
            sequence: (samples, steps, inputs).

        Returns:
            (samples, steps, inputs + units).
        """
        made = self(sequence)
        nothing = torch.zeros_like(made[:, :1])
        parts = (made[:, 1:], nothing) if self.reverse else (nothing, made[:, :-1])
        return torch.cat((sequence, torch.cat(parts, 1)), -1)

    def extra_repr(self) -> str:
        """The cell and the sizes."""
        way = ", reverse" if self.reverse else ""
        return f"{self.cell}, {self.inputs}, {self.weight.shape[0]}, bias={self.bias is not None}{way}"

    def _as_torch_has_them(self) -> list[Tensor]:
        """`weight_ih`, (gates x units, inputs), `weight_hh`, (gates x units, units), and both biases."""
        rows = self.weight.permute(2, 0, 1).flatten(0, 1)
        whole = [*rows.split((self.inputs, self.weight.shape[0]), 1)]
        if self.bias is not None:
            whole += self.bias.permute(1, 2, 0).flatten(1).unbind()
        if not rows.is_cuda:
            return whole
        # cuDNN wants them one after the other in memory.
        flat = torch.cat([each.flatten() for each in whole]).split([each.numel() for each in whole])
        return [part.view(each.shape) for part, each in zip(flat, whole, strict=True)]

    def _step_by_step(self, sequence: Tensor, hidden: Tensor, weights: list[Tensor]) -> Tensor:
        """The same in plain operations."""
        from_input, from_hidden, *biases = weights
        by_input, by_hidden = biases or (None, None)
        cell, steps = hidden, []
        for read in nn.functional.linear(sequence, from_input, by_input).unbind(1):
            recalled = nn.functional.linear(hidden, from_hidden, by_hidden)
            if self.cell == "lstm":
                enter, forget, new, leave = (read + recalled).chunk(4, 1)
                cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
                hidden = leave.sigmoid() * cell.tanh()
            elif self.cell == "gru":
                (reset, update, new), (reset_h, update_h, new_h) = read.chunk(3, 1), recalled.chunk(3, 1)
                kept = (update + update_h).sigmoid()
                candidate = (new + (reset + reset_h).sigmoid() * new_h).tanh()
                hidden = (1 - kept) * candidate + kept * hidden
            else:
                total = read + recalled
                hidden = total.tanh() if self.cell == "rnn_tanh" else total.relu()
            steps.append(hidden)
        return torch.stack(steps, 1)
