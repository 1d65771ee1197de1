"""Networks that one process of a run leaves for another, in a file that is deleted a moment later.

The process that writes it runs no scorer and no metric; the one that reads it does. Nothing that was handed
over stays in the run directory.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch

from benchsuite.store.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def hand_over(path: Path, content: object) -> None:
    """Write networks; cloudpickle also takes what pickle does not, such as functions of a model's own."""
    import cloudpickle

    written = io.BytesIO()  # torch says of a full disk that a position is unexpected
    torch.save(content, written, pickle_module=cloudpickle)
    write_atomically(path, written.getvalue())


def handed_over(path: Path, device: torch.device) -> Any:
    """What the trial's process wrote a moment ago."""
    return torch.load(path, map_location=device, weights_only=False)
