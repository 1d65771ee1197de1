"""Channel independence: how much a unit adds to the others' activation maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchsuite import Reduction, Scorer
from benchsuite_scorers._reached import skip_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchsuite import ScoringContext


# The trapezoidal rule over log(s): its error falls as exp(-pi^2 / step), 3e-9 here.
_STEP = 0.5
_LOWEST, _HIGHEST = -24.0, 10.0
"""Range of log(s / largest singular value): beyond it the integrand is negligible or known."""


@dataclass(frozen=True)
class NuclearNormChange(Reduction):
    """For each sample, the nuclear norm of its (units x positions) matrix less that without a unit's row.

    Exact to about 1e-7, from one eigenvalue decomposition per sample. With G the Gram matrix over units,
    zeroing row i deletes row and column i of G, and det(G_i + t) / det(G + t) is the i-th diagonal element of
    the inverse of G + t. By sqrt(x) = 1/pi times the integral over s > 0 of log(1 + x / s^2), the change is
    -1/pi times the integral of log(s^2 (G + s^2)^-1[i, i]), which is smooth in log(s).
    """

    name: ClassVar[str] = "nuclear-norm-change"

    def __call__(self, maps: Tensor) -> Tensor:
        """Compute the change for every unit."""
        import torch

        rows = maps.flatten(2).double()
        # The largest singular value becomes at most 1 and at least 1 / sqrt(units).
        scale = rows.flatten(1).norm(dim=1).clamp_min(1e-300)[:, None, None]
        rows = rows / scale
        if rows.shape[1] <= rows.shape[2]:
            values, vectors = torch.linalg.eigh(rows @ rows.mT)
            shares, rest = vectors**2, torch.zeros_like(rows[..., 0])
        else:
            # Only the eigenvectors in the span of the rows; the eigenvalues of the others are 0.
            values, right = torch.linalg.eigh(rows.mT @ rows)
            spanning = values > 1e-13 * values[..., -1:]
            shares = torch.where(spanning, 1 / values, 0.0)[:, None] * (rows @ right) ** 2
            rest = (1 - shares.sum(-1)).clamp_min(0)
        count = round((_HIGHEST - _LOWEST) / _STEP) + 1
        s = torch.linspace(_LOWEST, _HIGHEST, count, dtype=torch.float64, device=rows.device).exp()
        # s^2 (G + s^2)^-1[i, i] is the sum over eigenvalues v of G of shares[i] s^2 / (v + s^2).
        inside = rest[..., None] + shares @ (s**2 / (values.clamp_min(0)[..., None] + s**2))
        total = -(inside.clamp_min(1e-300).log() * s).sum(-1)
        # Beyond the last s the logarithm is -G[i, i] / s^2, a geometric series.
        ratio = math.exp(-_STEP)
        total += rows.square().sum(-1) / s[-1] * ratio / (1 - ratio)
        changes: Tensor = total * (_STEP / math.pi) * scale[..., 0]
        return changes.to(maps.dtype)


class Chip(Scorer):
    """The mean over samples of how much a unit's activation map adds to the layer's nuclear norm.

    The layer's maps are the rows of a matrix A (units x positions). Unit i adds nuclear(A) - nuclear(A
    without row i), which is small if its map is a linear combination of the others. Read after the
    non-linearity. Cost: one shared forward pass, and an eigenvalue decomposition per sample and layer,
    batched. It fails if the maps differ only in scale, since large maps then count most.

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
