"""The parts of a run, in the order in which they are made. Each is a module with a function `run`.

What they need stands here, since a part that lacks a library cannot be imported.
"""

from __future__ import annotations

from dataclasses import dataclass

_BASE = ("torch", "pydantic", "safetensors", "psutil", "numpy", "lazy_loader")
_SUITE = (*_BASE, "pluggy", "platformdirs", "rich", "tomli_w")


@dataclass(frozen=True)
class Part:
    """A part of a run.

    Attributes:
        title: what it is, for people.
        share: how much of the time that is left belongs to it, beside those that follow: about its seconds.
        needs: modules without which it is left out.
    """

    title: str
    share: int
    needs: tuple[str, ...]


PARTS = {
    "machine": Part("device and versions", 20, ("torch",)),
    "suspects": Part("tests marked gpu", 80, (*_BASE, "pytest")),
    "training": Part("training steps", 50, (*_BASE, "torchvision")),
    "measuring": Part("latency, energy and the search for kernels", 40, _BASE),
    "scoring": Part("HRank and Shapley values", 30, (*_BASE, "scipy")),
    "dissection": Part("dissection", 25, (*_BASE, "torchvision")),
    "jobs": Part("what a job pays before its work", 25, (*_BASE, "scipy")),
    "quick_matrix": Part("the quick matrix, CPU against device", 90, (*_SUITE, "sklearn")),
    "many_seeds": Part("accuracies over many seeds, CPU against device", 130, (*_SUITE, "scipy")),
    "full_slice": Part("a slice of full.toml", 100, _SUITE),
}
