"""Comparison of a criterion with its second computation, recorded for the table in the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Numbers = Tensor | Sequence[float]
    Record = Callable[[str, object], None]


def agree(
    record_property: Record,
    scorer: str,
    found: Numbers,
    expected: Numbers,
    *,
    rel: float,
    absolute: float = 0.0,
) -> None:
    """Assert that scores equal those of another computation to a tolerance.

    The largest difference, as a share of the largest expected score, goes into the JUnit report of the run
    under the name "deviation: <scorer>".
    """
    one, other = (torch.as_tensor(values).detach().double().flatten() for values in (found, expected))
    assert one.shape == other.shape
    largest = float(other.abs().max())
    deviation = float((one - other).abs().max()) / (largest or 1.0)
    record_property(f"deviation: {scorer}", f"{deviation:.3e}")
    assert one.tolist() == pytest.approx(other.tolist(), rel=rel, abs=absolute)
