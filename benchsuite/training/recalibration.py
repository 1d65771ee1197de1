"""Estimating batch normalisation's statistics anew, without changing any weight."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchsuite.hardware.devices import exact_float32

if TYPE_CHECKING:
    from benchsuite.training.data import DeviceSplit


def recalibrated(
    model: nn.Module, split: DeviceSplit, samples: int, batch_size: int, seed: int
) -> nn.Module | None:
    """Return a copy whose batch normalisations have the statistics of the network as it is now.

    After a cut the running mean and variance are still those of the dense network. They are replaced by the
    mean over batches of each batch's mean and (unbiased) variance; only the batch normalisations are in
    training mode, so that no dropout acts.

    Source: Li et al. 2020 (EagleEye), "adaptive batch normalization".

    Args:
        model: the network; it is not changed.
        split: training samples, not augmented.
        samples: how many of them to use.
        batch_size: samples per pass, at least two, since one sample has no variance; what does not fill a
            batch is left out.
        seed: decides which samples.

    Returns:
        The copy, in evaluation mode; None if the network has no batch normalisation with running statistics,
        or there are fewer than two samples.
    """
    twin = copy.deepcopy(model).eval()
    norms = [
        module
        for module in twin.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    samples = min(samples, len(split))
    if not norms or samples < 2:
        return None
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean over all batches
        norm.train()
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    chosen = order[:samples].to(split.inputs.device)
    size = min(max(batch_size, 2), samples)
    with torch.no_grad(), exact_float32():
        for batch in chosen[: samples // size * size].split(size):
            twin(split.normalise(split.inputs[batch]))
    return twin.eval()
