"""What a dissection shows: detectors, concepts, consistency with the dense network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchsuite.errors import BenchsuiteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchsuite.metrics.dissection.result import Dissection, Floats, Integers, LayerDissection

PREFIX = "interpretability"


@dataclass(frozen=True)
class Detector:
    """A unit that detects a concept.

    Attributes:
        layer: the layer's name.
        unit: the unit's index in its layer.
        concept: the concept's index.
        iou: its IoU with it.
        images_with: in how many images the concept occurs; with few images, a high IoU easily occurs by
            chance.
    """

    layer: str
    unit: int
    concept: int
    iou: float
    images_with: int


@dataclass(frozen=True)
class Comparison:
    """How far a pruned network's units kept what they detected in the dense one.

    The first two shares are those of Frankle and Bau (2019), figure 4.

    Attributes:
        detectors: detectors of the dense network.
        still_interpretable: share of them that are detectors of any concept in the pruned network; a removed
            unit does not count as one.
        same_concept: of those, the share whose best concept is the same.
        iou_correlation: of those, the mean Pearson correlation of a unit's IoUs with all concepts before
            and after; where two concepts have nearly equal IoUs the best one changes easily, while this stays
            high.

    A share is None where there is nothing to count.
    """

    detectors: int
    still_interpretable: float | None
    same_concept: float | None
    iou_correlation: float | None


def detectors(dissection: Dissection) -> list[Detector]:
    """Return every unit whose best IoU is above the threshold, best first."""
    found = []
    for layer in dissection.layers:
        concepts, values = dissection.best(layer)
        found += [
            Detector(
                layer.name,
                int(unit),
                int(concepts[unit]),
                float(values[unit]),
                int(dissection.images_with[concepts[unit]]),
            )
            for unit in np.flatnonzero(values > dissection.iou)
        ]
    return sorted(found, key=lambda detector: -detector.iou)


def compare(dense: Dissection, pruned: Dissection, kept: Mapping[str, Sequence[int]]) -> Comparison:
    """Follow the dense network's detectors into the pruned network.

    Args:
        dense: of the dense network.
        pruned: of the pruned one, with the same concepts and layers.
        kept: per layer whose units were removed, the dense index of each unit that is left, in the pruned
            network's order. Layers that are absent kept all units.

    Raises:
        BenchsuiteError: the dissections differ in concepts or layers.
    """
    if (
        dense.concepts_key != pruned.concepts_key
        or dense.concepts != pruned.concepts
        or dense.iou != pruned.iou
    ):
        raise BenchsuiteError("the dissections were made with different concepts or thresholds")
    if [layer.name for layer in dense.layers] != [layer.name for layer in pruned.layers]:
        raise BenchsuiteError(
            f"the dissections are of different layers: {', '.join(layer.name for layer in dense.layers)}"
            f" and {', '.join(layer.name for layer in pruned.layers)}"
        )
    total, same, correlations = 0, list[bool](), list[float]()
    for before, after in zip(dense.layers, pruned.layers, strict=True):
        left = kept_units(before, after, kept)
        concept_before, iou_before = dense.best(before)
        concept_after, iou_after = pruned.best(after)
        total += int((iou_before > dense.iou).sum())
        both = np.flatnonzero((iou_before[left] > dense.iou) & (iou_after > dense.iou))
        same += (concept_before[left[both]] == concept_after[both]).tolist()
        correlations += _correlations(dense.ious(before)[left[both]], pruned.ious(after)[both])
    return Comparison(
        detectors=total,
        still_interpretable=len(same) / total if total else None,
        same_concept=sum(same) / len(same) if same else None,
        iou_correlation=sum(correlations) / len(correlations) if correlations else None,
    )


def kept_units(
    before: LayerDissection, after: LayerDissection, kept: Mapping[str, Sequence[int]]
) -> Integers:
    """The dense index of each unit of a pruned layer; raises `BenchsuiteError` if `kept` is wrong."""
    left = np.array(kept.get(before.name, range(before.units)), dtype=np.int64)
    if len(left) != after.units or (len(left) and (left.min() < 0 or left.max() >= before.units)):
        raise BenchsuiteError(
            f"layer {before.name} has {after.units} of {before.units} units left, but the list of kept units"
            f" has {len(left)}"
        )
    return left


def dissection_metrics(
    dissection: Dissection,
    dense: Dissection | None = None,
    kept: Mapping[str, Sequence[int] | None] | None = None,
) -> dict[str, float]:
    """Return flat metrics, named `interpretability/...`, over all dissected layers together.

    - `units`, `detectors` (their numbers), `detectors_share` of all units, `concepts` (how many different
      ones are detected), `mean_best_iou` over all units, `<category>/detectors` and `<category>/concepts`;
    - `null_detectors`, `null_detectors_share`, `null_concepts`, `null_mean_best_iou`: the same with the
      labels of other images, as means over the draws; this is what chance alone gives;
    - `median_images_with`: the median number of images in which the detectors' concepts occur; absent
      without detectors;
    - with `dense`: the first five of the dense network, with `_dense` at their end, and
      `still_interpretable`, `same_concept`, `iou_correlation` (see `Comparison`; absent where there is
      nothing to count, and where the units of a layer cannot be followed).

    Args:
        dissection: of the network that the trial reports.
        dense: of the dense network it was pruned from.
        kept: as in `compare`; None for a layer whose units cannot be followed.
    """
    found = detectors(dissection)
    units = sum(layer.units for layer in dissection.layers)
    metrics = _totals(dissection, found)
    for category in dissection.categories:
        of = [d.concept for d in found if dissection.concepts[d.concept].category == category]
        metrics[f"{category}/detectors"] = len(of)
        metrics[f"{category}/concepts"] = len(set(of))
    metrics |= _null_metrics(dissection, units)
    if found:
        metrics["median_images_with"] = float(np.median([d.images_with for d in found]))
    if dense is not None:
        before = _totals(dense, detectors(dense))
        metrics |= {f"{name}_dense": value for name, value in before.items()}
        followed = {name: left for name, left in (kept or {}).items() if left is not None}
        if len(followed) == len(kept or {}):
            comparison = compare(dense, dissection, followed)
            for name in ("still_interpretable", "same_concept", "iou_correlation"):
                value = getattr(comparison, name)
                if value is not None:
                    metrics[name] = value
    return {f"{PREFIX}/{name}": float(value) for name, value in metrics.items()}


def _totals(dissection: Dissection, found: Sequence[Detector]) -> dict[str, float]:
    units = sum(layer.units for layer in dissection.layers)
    best = np.concatenate([dissection.best(layer)[1] for layer in dissection.layers])
    return {
        "units": units,
        "detectors": len(found),
        "detectors_share": len(found) / units,
        "concepts": len({detector.concept for detector in found}),
        "mean_best_iou": float(best.mean()),
    }


def _null_metrics(dissection: Dissection, units: int) -> dict[str, float]:
    best = np.concatenate([layer.null_ious for layer in dissection.layers], axis=1)
    concept = np.concatenate([layer.null_concepts for layer in dissection.layers], axis=1)
    above = best > dissection.iou
    number = float(above.sum(1).mean())
    return {
        "null_detectors": number,
        "null_detectors_share": number / units,
        "null_concepts": float(np.mean([len(set(c[a])) for c, a in zip(concept, above, strict=True)])),
        "null_mean_best_iou": float(best.mean()),
    }


def _correlations(before: Floats, after: Floats) -> list[float]:
    """Pearson correlation of each pair of rows; pairs with a constant row are left out."""
    a, b = before - before.mean(1, keepdims=True), after - after.mean(1, keepdims=True)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return [float(value) for value in ((a * b).sum(1)[scale > 0] / scale[scale > 0])]
