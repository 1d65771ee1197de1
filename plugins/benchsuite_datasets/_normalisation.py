"""The choice of normalisation that every image data set offers."""

from __future__ import annotations

from typing import Literal

Normalise = Literal["own", "imagenet", "none"]
"""Which mean and standard deviation inputs are brought to: the data set's "own", ImageNet's ("imagenet",
for networks that were trained so), or "none": images stay on the scale 0..1."""

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel or feature."""
