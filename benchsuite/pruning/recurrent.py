"""Torch's recurrent layers, all of whose gates and layers are one module, made ones with a layer each."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchsuite.contracts.recurrent import RecurrentLayer
from benchsuite.pruning.trial_change import Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.recurrent import Cell

_CELLS: dict[type[nn.Module], Cell] = {nn.LSTM: "lstm", nn.GRU: "gru"}
_BEHIND = "_reverse"
"""What torch puts behind the names of the parameters of the second direction."""


class FinalStates:
    """The last hidden units of each layer and direction, which may be of any width.

    It is indexed as torch's tensor of shape (layers x directions, samples, units): `states[-1]`, or
    `states[-2, :, :]`. What else that tensor can do, it cannot.

    Args:
        states: (samples, units) each.
    """

    def __init__(self, states: Sequence[Tensor]) -> None:
        self._states = tuple(states)

    def __len__(self) -> int:
        """How many states there are."""
        return len(self._states)

    def __getitem__(self, key: Any) -> Any:
        """The state of one layer and direction, a part of it, or several states as a tuple."""
        if not isinstance(key, tuple):
            return self._states[key]
        return self._states[key[0]][key[1:]]


class SeparateRecurrent(nn.Module):
    """What `nn.LSTM`, `nn.GRU` or `nn.RNN` computes, with a module for each layer and direction.

    These are layers like others, `l0`, `l0_reverse`, `l1` and so on: they have units, activations and weights
    to score, and any of their units can be removed, where torch's class has one width for all. It is called
    with one batch of sequences alone: it takes no initial states, no packed sequences, and returns None where
    an LSTM has the last states of its cells.

    Args:
        whole: the recurrent layer; its weights are copied.
        stacked: whether the last hidden states are one tensor, for which all layers must have equally many
            units, in place of `FinalStates`.
    """

    def __init__(self, whole: nn.RNNBase, *, stacked: bool) -> None:
        super().__init__()
        self.mode, self.stacked = whole.mode, stacked
        self.num_layers, self.bidirectional = whole.num_layers, whole.bidirectional
        self.batch_first, self.dropout = whole.batch_first, whole.dropout
        state = dict(whole.named_parameters(recurse=False))
        for suffix in _suffixes(whole):
            weight, bias = (_joined(state, kind, suffix) for kind in ("weight", "bias"))
            assert weight is not None
            trained = state[f"weight_ih_{suffix}"].requires_grad
            layer = RecurrentLayer(
                _cell(whole),
                nn.Parameter(weight.detach(), trained),
                None if bias is None else nn.Parameter(bias.detach(), trained),
                reverse=suffix.endswith(_BEHIND),
            )
            setattr(self, suffix, layer)

    def flatten_parameters(self) -> None:
        """Do nothing: the weights are put together in each pass."""

    def forward(self, sequences: Tensor, states: None = None) -> tuple[Tensor, Any]:
        """See `nn.LSTM`, `nn.GRU` and `nn.RNN`: shapes and what is returned are the same.

        Raises:
            TypeError: there are initial states, or something else than one batch of sequences.
        """
        if states is not None or not isinstance(sequences, Tensor) or sequences.ndim != 3:
            raise TypeError("recurrent layers that are separate take one batch of sequences alone")
        made = sequences if self.batch_first else sequences.transpose(0, 1)
        last: list[Tensor] = []
        for number in range(self.num_layers):
            found = [self._direction(number, behind)(made) for behind in self._directions]
            last += [each[:, 0 if way else -1] for way, each in enumerate(found)]
            made = torch.cat(found, -1) if len(found) > 1 else found[0]
            if number < self.num_layers - 1:
                made = functional.dropout(made, self.dropout, self.training)
        hidden = torch.stack(last) if self.stacked else FinalStates(last)
        found_states = (hidden, None) if self.mode == "LSTM" else hidden
        return made if self.batch_first else made.transpose(0, 1), found_states

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", _BEHIND) if self.bidirectional else ("",)

    def _direction(self, number: int, behind: str) -> nn.Module:
        return self.get_submodule(f"l{number}{behind}")


def separate_recurrent(model: nn.Module, example: Inputs) -> dict[str, bool]:
    """Replace every `nn.LSTM`, `nn.GRU` and `nn.RNN` by a `SeparateRecurrent`, in place.

    Those stay as they are with which the network would compute something else or not run, in evaluation or in
    training, as where it gives them initial states or packed sequences, or reads their cells; and those with
    projections, with hooks, with a part that learns and a part that does not, or with weights that others
    share, and subclasses.

    Args:
        model: the network; one without recurrent layers is not run.
        example: an input of any number of samples; the first is used.

    Returns:
        By name of each that was replaced, whether its last states are one tensor; see `SeparateRecurrent`.
    """
    every = dict(model.named_modules(remove_duplicate=False))
    names = [name for name, each in every.items() if name and _replaceable(each, model)]
    if not names:
        return {}
    trial = Trial(model, example)
    found: dict[str, bool] = {}
    # Of one layer in one direction the tensor costs nothing. Of several it is the second choice.
    alone = [name for name in names if len(_suffixes(every[name])) == 1]
    for stacked, candidates in ((True, alone), (False, names), (True, names)):
        if left := [name for name in candidates if name not in found]:
            change = partial(_separate_more, found=dict(found), stacked=stacked)
            found |= dict.fromkeys(trial.possible(left, change), stacked)
    separate_named(model, found)
    return found


def separate_named(model: nn.Module, stacked: Mapping[str, bool]) -> None:
    """Replace the recurrent layers of these names, in place.

    Args:
        model: the network.
        stacked: by name, whether the last states are one tensor.
    """
    whole = {name: model.get_submodule(name) for name in stacked}
    replaced: dict[nn.Module, SeparateRecurrent] = {}
    for name, layer in whole.items():
        assert isinstance(layer, nn.RNNBase)
        if layer not in replaced:
            replaced[layer] = SeparateRecurrent(layer, stacked=stacked[name]).train(layer.training)
            layer.register_forward_pre_hook(_replaced)
        owner, _, child = name.rpartition(".")
        setattr(model.get_submodule(owner), child, replaced[layer])


def _separate_more(
    model: nn.Module, names: Sequence[str], *, found: Mapping[str, bool], stacked: bool
) -> None:
    """Replace the layers that were found before, and those of these names."""
    separate_named(model, {**found, **dict.fromkeys(names, stacked)})


def _replaced(*_: object) -> None:
    raise RuntimeError("this recurrent layer was replaced by one of separate layers, and something calls it")


def separate_recurrent_state(state: Mapping[str, Tensor], names: Mapping[str, bool]) -> dict[str, Tensor]:
    """A state of the network as it was, by the names of its parameters once recurrent layers are replaced.

    Args:
        state: by name, tensors of the shape of the parameters.
        names: the recurrent layers that were replaced.
    """
    found = dict(state)
    for name in names:
        front = f"{name}.weight_ih_"
        for suffix in [key.removeprefix(front) for key in state if key.startswith(front)]:
            own = {key.removeprefix(f"{name}."): value for key, value in state.items()}
            for kind in ("weight", "bias"):
                joined = _joined(own, kind, suffix)
                for part in ("ih", "hh"):
                    found.pop(f"{name}.{kind}_{part}_{suffix}", None)
                if joined is not None:
                    found[f"{name}.{suffix}.{kind}"] = joined
    return found


def _joined(state: Mapping[str, Tensor], kind: str, suffix: str) -> Tensor | None:
    """The weight (units, inputs + units, gates) or bias (units, 2, gates) of one layer and direction."""
    parts = [state.get(f"{kind}_{part}_{suffix}") for part in ("ih", "hh")]
    if parts[0] is None or parts[1] is None:
        return None
    units = state[f"weight_hh_{suffix}"].shape[1]
    by_gate = [part.reshape(-1, units, *part.shape[1:]) for part in parts if part is not None]
    if kind == "bias":
        return torch.stack(by_gate, 1).permute(2, 1, 0).contiguous()
    return torch.cat(by_gate, 2).permute(1, 2, 0).contiguous()


def _suffixes(whole: Any) -> list[str]:
    """Of each layer and direction, what the names of its parameters end with."""
    directions = ("", _BEHIND) if whole.bidirectional else ("",)
    return [f"l{number}{behind}" for number, behind in product(range(whole.num_layers), directions)]


def _cell(whole: nn.RNNBase) -> Cell:
    if type(whole) is nn.RNN:
        return "rnn_relu" if whole.nonlinearity == "relu" else "rnn_tanh"
    return _CELLS[type(whole)]


def _replaceable(module: nn.Module, model: nn.Module) -> bool:
    if type(module) not in (nn.LSTM, nn.GRU, nn.RNN):
        return False
    assert isinstance(module, nn.RNNBase)
    if module.proj_size or module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return False
    own = {id(parameter) for parameter in module.parameters()}
    shared = any(
        id(parameter) in own
        for other in model.modules()
        if other is not module
        for parameter in other._parameters.values()
    )
    return not shared and len({parameter.requires_grad for parameter in module.parameters()}) == 1
