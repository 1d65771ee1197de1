"""The choice of normalisation that every image data set offers."""

from __future__ import annotations

from typing import Literal

Normalise = Literal["own", "imagenet", "none"]
"""The mean and standard deviation for normalising inputs: the data set's "own", ImageNet's ("imagenet", for
networks that were trained with it), or "none": images keep the scale 0..1."""

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel or feature."""
