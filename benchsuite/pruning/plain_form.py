"""The form in which a network is pruned: plain weights, and layers that can be cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.pruning.folding import fold
from benchsuite.pruning.joined_biases import join, join_biases, joined_state
from benchsuite.pruning.own_width import give_own_widths, widen
from benchsuite.pruning.packed_attention import separate, separate_attentions, separate_state

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
    """

    folded: Mapping[str, str]
    separated: tuple[str, ...]
    joined: tuple[str, ...]
    widened: tuple[str, ...]

    @property
    def other_operations(self) -> bool:
        """Whether the network computes the same by other operations, which cost something else."""
        return bool(self.folded or self.separated or self.joined)

    def state(self, as_built: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by names of parameters as the network was built, by the names that it has in this form."""
        return joined_state(separate_state(as_built, self.separated), self.joined)

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
        join(model, self.joined)
        widen(model, self.widened)


def make_plain(model: nn.Module, example: Inputs) -> PlainForm:
    """Bring a network into the form in which it is pruned, in place.

    See `fold`, `separate_attentions`, `join_biases` and `give_own_widths`.

    Args:
        model: the network as it was built, with its trained weights.
        example: an input of any number of samples; the first is used.

    Raises:
        Unsupported: it has parametrised weights that cannot be made plain.
    """
    folded = fold(model, example)
    separated = separate_attentions(model, example)
    joined = join_biases(model, example)
    return PlainForm(folded, separated, joined, give_own_widths(model, example))
