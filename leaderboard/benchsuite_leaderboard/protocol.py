"""The settings that trials of one table have in common, and how much of a network they removed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from benchsuite.pruning.threshold import threshold_of

Sparsity = float | str
"""The requested fraction removed; or a word: "native" where the criterion chose it itself, "widths" where the
suite says how many units each layer keeps, "layers" where it says for some layers each how much of them goes,
"threshold=0.05" where what scores less goes."""
WIDTHS = "widths"
TARGETS = "layers"
OWN_TARGETS = "layers, some by the criterion's own scale"
"""Where the targets of some layers are thresholds, or the criterion's own rule."""


@dataclass(frozen=True)
class Protocol:
    """The settings that must be equal for two trials to be in one table.

    Attributes:
        settings: the other settings of the suite (aggregation, recipes), as canonical JSON.
    """

    granularity: str
    scope: str
    budget: str
    schedule: str
    recovery_epochs: str
    settings: str

    @property
    def label(self) -> str:
        """The protocol in words, without the settings."""
        budget = {"macs": "MACs", "params": "parameters"}.get(self.budget, self.budget)
        return (
            f"{self.granularity} granularity · {self.scope} scope · budget in {budget} · "
            f"{self.schedule} · {self.recovery}"
        )

    @property
    def recovery(self) -> str:
        """The fine-tuning after pruning in words."""
        if self.recovery_epochs in {"0", ""}:
            return f"no {self.training}" if self.recovery_epochs else f"{self.training} not stated"
        return f"{self.recovery_epochs} epoch{'s' if self.recovery_epochs != '1' else ''} of {self.training}"

    @property
    def at_init(self) -> bool:
        """Whether networks are pruned before they are trained, so that what follows is no recovery."""
        return self.schedule == "at-init"

    @property
    def training(self) -> str:
        """What follows pruning: "recovery", or at initialisation "training"."""
        return "training" if self.at_init else "recovery"

    @property
    def layers(self) -> str:
        """Which layers could lose units or weights, in words; empty where all could."""
        if self.widths:
            return ", ".join(f"{name}: {width} units" for name, width in self.widths.items())
        if self.targets:
            return "; ".join(f"{names}: {_in_words(target)}" for names, target in self.targets.items())
        found = [self._pruning.get(name) for name in ("layers", "keep")]
        only, kept = (", ".join(map(str, each)) if isinstance(each, list) else "" for each in found)
        if only and kept:
            return f"{only}, but not {kept}"
        return only or (f"all but {kept}" if kept else "")

    @property
    def widths(self) -> dict[str, Any]:
        """How many units layers keep, by name, where the suite says so."""
        widths = self._pruning.get(WIDTHS)
        return widths if isinstance(widths, dict) else {}

    @property
    def targets(self) -> dict[str, Any]:
        """How much of some layers goes, by their names, where the suite says so."""
        targets = self._pruning.get(TARGETS)
        return targets if isinstance(targets, dict) else {}

    @property
    def _pruning(self) -> dict[str, Any]:
        settings = json.loads(self.settings)
        pruning = settings.get("pruning") if isinstance(settings, dict) else None
        return pruning if isinstance(pruning, dict) else {}

    @property
    def digest(self) -> str:
        """A short name that is safe in addresses."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]


def is_shared(sparsity: Sparsity) -> bool:
    """Whether all criteria had it as their target, and none chose its own, so that they can be compared."""
    return sparsity in (WIDTHS, TARGETS) or not isinstance(sparsity, str)


def is_shared_target(target: object) -> bool:
    """Whether a target of layers is the same for all criteria: a fraction, or a number of units.

    So is whatever goes of layers with a criterion of their own, which is the same in all cells.
    """
    if isinstance(target, dict) and "target" in target:
        return "scorer" in target or is_shared_target(target["target"])
    return isinstance(target, int | float) or (isinstance(target, dict) and "width" in target)


def _in_words(target: object) -> str:
    if isinstance(target, dict) and "target" in target:
        how = [f"{target['granularity']}s"] if "granularity" in target else []
        how += [f"by {target['scorer']}"] if "scorer" in target else []
        return ", ".join([_in_words(target["target"]), *how])
    if isinstance(target, int | float):
        return f"{100 * target:.12g}% removed"
    if isinstance(target, dict) and "width" in target:
        return f"{target['width']} units"
    if isinstance(target, dict) and "threshold" in target:
        return f"scores under {target['threshold']} removed"
    return "by the criterion's own rule" if target == "native" else str(target)


def sparsity_order(sparsity: Sparsity) -> tuple[int, float, str]:
    """Sorts fractions in order, thresholds after them, and then words."""
    if not isinstance(sparsity, str):
        return 0, sparsity, ""
    threshold = threshold_of(sparsity)
    return (2, 0.0, sparsity) if threshold is None else (1, threshold, "")
