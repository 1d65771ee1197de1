"""Channel independence: how much a unit adds to the others' activation maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchsuite import Reduction, Scorer
from benchsuite_scorers._parameters import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


@dataclass(frozen=True)
class NuclearNormChange(Reduction):
    """For each sample, the nuclear norm of its (units x positions) matrix less that with a unit's row zeroed.

    The singular values are the roots of the eigenvalues of the Gram matrix of the shorter side, in double
    precision: zeroing row i deletes row and column i of the Gram matrix over units, or takes the outer
    product of row i from the one over positions.
    """

    name: ClassVar[str] = "nuclear-norm-change"
    elements: int = 2**23
    """How many numbers of Gram matrices are held at once."""

    def __call__(self, maps: Tensor) -> Tensor:
        """Compute the change for every unit."""
        import torch

        rows = maps.flatten(2).double()
        samples, units, positions = rows.shape
        side = min(units - 1, positions)
        if side == 0:
            alone: Tensor = rows.norm(dim=2)
            return alone.to(maps.dtype)
        chunk = max(1, self.elements // (units * side**2))
        changes = [self._change(part, side == positions) for part in rows.split(chunk)]
        return torch.cat(changes).clamp_min(0).to(maps.dtype) if samples else rows.new_zeros(0, units)

    @staticmethod
    def _change(rows: Tensor, over_positions: bool) -> Tensor:
        import torch

        units = rows.shape[1]
        if over_positions:
            gram = rows.mT @ rows
            without = gram[:, None] - rows[..., :, None] * rows[..., None, :]
        else:
            gram = rows @ rows.mT
            others = torch.tensor(
                [[j for j in range(units) if j != i] for i in range(units)], device=rows.device
            )
            without = gram[:, others[:, :, None], others[:, None, :]]
        return _nuclear(gram)[:, None] - _nuclear(without)


def _nuclear(gram: Tensor) -> Tensor:
    import torch

    squares: Tensor = torch.linalg.eigvalsh(gram)
    return squares.clamp_min(0).sqrt().sum(-1)


class Chip(Scorer):
    """The mean over samples of the nuclear norm that a unit's activation map adds to its layer's.

    The layer's maps are the rows of a (units x positions) matrix; a unit whose map the others can express
    adds little to its nuclear norm. Read after the non-linearity. One shared forward pass, and an eigenvalue
    decomposition per sample and unit, batched: the slowest of the activation criteria for wide layers.

    Source: Sui et al. 2021 (CHIP).
    """

    name = "chip"

    def score(self, context: ScoringContext) -> dict[str, Tensor]:
        """Return the mean change of the nuclear norm by unit."""
        scores = {name: table.mean(0) for name, table in context.activations(NuclearNormChange()).items()}
        skip_unreached(context, scores)
        return scores

    def reductions(self) -> Sequence[Reduction]:
        """Return the one table it reads."""
        return (NuclearNormChange(),)
