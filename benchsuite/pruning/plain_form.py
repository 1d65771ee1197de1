"""The form in which a network is pruned: plain weights, and layers that can be cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchsuite.pruning.folding import fold
from benchsuite.pruning.packed_attention import separate_attentions, separate_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


@dataclass(frozen=True)
class PlainForm:
    """What was changed of a network as it was built, without changing what it computes.

    Attributes:
        folded: by dotted name of each weight that became a plain one, what computed it.
        attentions: names of the attentions that got a layer each for queries, keys and values.
    """

    folded: Mapping[str, str]
    attentions: tuple[str, ...]

    def state(self, as_built: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by names of parameters as the network was built, by the names that it has in this form."""
        return separate_state(as_built, self.attentions)


def make_plain(model: nn.Module, example: Tensor) -> PlainForm:
    """Bring a network into the form in which it is pruned, in place. See `fold`, `separate_attentions`.

    Args:
        model: the network as it was built, with its trained weights.
        example: an input of any number of samples; the first is used.

    Raises:
        Unsupported: it has parametrised weights that cannot be made plain.
    """
    folded = fold(model, example)
    return PlainForm(folded, separate_attentions(model, example))
