"""The form in which a network is pruned: plain weights, and layers that can be cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.pruning.folding import fold
from benchsuite.pruning.joined_biases import join, join_biases, joined_state
from benchsuite.pruning.own_width import give_own_widths, widen
from benchsuite.pruning.packed_attention import separate, separate_attentions, separate_state
from benchsuite.pruning.recurrent import separate_named, separate_recurrent, separate_recurrent_state
from benchsuite.pruning.units_first import put_units_first, units_first, units_first_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from benchsuite.contracts.inputs import Inputs


@dataclass(frozen=True)
class PlainForm:
    """What was changed of a network as it was built, without changing what it computes.

    Attributes:
        folded: by dotted name of each weight that became a plain one, what computed it.
        separated: names of the attentions that got a layer each for queries, keys and values.
        joined: names of those whose layer got the bias that was put together in every forward pass.
        widened: names of those that got a width of their own.
        units_first: by name of each transposed convolution whose weight got its units first, its groups.
        recurrent: by name of each recurrent layer that became several, how its last states are returned.
    """

    folded: Mapping[str, str]
    separated: tuple[str, ...]
    joined: tuple[str, ...]
    widened: tuple[str, ...]
    units_first: Mapping[str, int]
    recurrent: Mapping[str, bool]

    @property
    def other_operations(self) -> bool:
        """Whether the network computes the same by other operations, which cost something else.

        Transposed convolutions do not count: what a network costs is measured with those of torch.
        """
        return bool(self.folded or self.separated or self.joined or self.recurrent)

    def state(self, as_built: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by names of parameters as the network was built, by the names that it has in this form."""
        separated = separate_recurrent_state(separate_state(as_built, self.separated), self.recurrent)
        return units_first_state(joined_state(separated, self.joined), self.units_first)

    def apply(self, model: nn.Module, example: Inputs) -> None:
        """Bring another network that was built in the same way into this form, in place.

        Args:
            model: the network, with weights of its own.
            example: an input of any number of samples; the first is used.

        Raises:
            Unsupported: its parametrised weights cannot be made plain.
        """
        fold(model, example)
        separate(model, self.separated)
        separate_named(model, self.recurrent)
        join(model, self.joined)
        units_first(model, [*self.units_first])
        widen(model, self.widened)


def make_plain(model: nn.Module, example: Inputs) -> PlainForm:
    """Bring a network into the form in which it is pruned, in place.

    See `fold`, `separate_attentions`, `separate_recurrent`, `join_biases`, `put_units_first` and
    `give_own_widths`.

    Args:
        model: the network as it was built, with its trained weights.
        example: an input of any number of samples; the first is used.

    Raises:
        Unsupported: it has parametrised weights that cannot be made plain.
    """
    folded = fold(model, example)
    separated = separate_attentions(model, example)
    recurrent = separate_recurrent(model, example)
    joined = join_biases(model, example)
    transposed = put_units_first(model, example)
    return PlainForm(folded, separated, joined, give_own_widths(model, example), transposed, recurrent)
