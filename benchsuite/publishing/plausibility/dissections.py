"""What a dissection counts, against itself and against the layers that the record names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from benchsuite.publishing.plausibility.oddity import Oddities, Oddity, is_close, is_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchsuite.store.record import TrialRecord

_PREFIX = "interpretability/"
_CATEGORY = re.compile(r"[^/]+/(detectors|concepts)")


def dissections(record: TrialRecord, metrics: Mapping[str, float]) -> Oddities:
    """Counts of units, detectors and concepts that cannot be beside each other."""
    found = {n.removeprefix(_PREFIX): v for n, v in metrics.items() if n.startswith(_PREFIX)}
    if not found:
        return
    for suffix in ("", "_dense"):
        yield from _totals(found, suffix)
    yield from _share(found, "null_detectors_share", found.get("null_detectors"), found.get("units"))
    yield from _at_most(found, "null_concepts", "null_detectors")
    yield from _categories(found)
    yield from _followed(found)
    yield from _layers(found, record.provenance.get("dissection"))
    median = found.get("median_images_with")
    if (median is not None) != bool(found.get("detectors")):
        yield _odd("median_images_with does not fit the detectors", f"{median}, {found.get('detectors')}")
    if median is not None and not is_whole(2 * median):
        yield _odd("median_images_with is no median of counts", f"{median}")


def _totals(found: Mapping[str, float], suffix: str) -> Oddities:
    """Units, those that are detectors, their share, and the concepts that they detect."""
    detectors = f"detectors{suffix}"
    yield from _share(found, f"detectors_share{suffix}", found.get(detectors), found.get(f"units{suffix}"))
    yield from _at_most(found, detectors, f"units{suffix}")
    yield from _at_most(found, f"concepts{suffix}", detectors)
    if found.get(detectors) and not found.get(f"concepts{suffix}", 1):
        yield _odd(f"{detectors} detect no concept", f"{found[detectors]}")
    if found.get(detectors) and found.get(f"mean_best_iou{suffix}") == 0:
        yield _odd(f"mean_best_iou{suffix} is zero though there are detectors", f"{found[detectors]}")


def _share(found: Mapping[str, float], name: str, part: float | None, of: float | None) -> Oddities:
    if name in found and part is not None and of and not is_close(found[name], part / of):
        yield _odd(f"{name} does not fit the counts", f"{found[name]}, but {part} of {of}")


def _at_most(found: Mapping[str, float], less: str, more: str) -> Oddities:
    if less in found and more in found and found[less] > found[more]:
        yield _odd(f"{less} is more than {more}", f"{found[less]} and {found[more]}")


def _categories(found: Mapping[str, float]) -> Oddities:
    """Each detector has one concept, and each concept one category."""
    for what in ("detectors", "concepts"):
        parts = [v for n, v in found.items() if (m := _CATEGORY.fullmatch(n)) and m[1] == what]
        if parts and what in found and sum(parts) != found[what]:
            yield _odd(f"{what} are not the sum over categories", f"{found[what]} and {sum(parts)}")


def _followed(found: Mapping[str, float]) -> Oddities:
    """Shares of the dense network's detectors that are detectors still, and of these."""
    before, still, same = (
        found.get(name) for name in ("detectors_dense", "still_interpretable", "same_concept")
    )
    if before is None or still is None:
        return
    left = still * before
    if not is_whole(left):
        yield _odd("still_interpretable is no share of the dense detectors", f"{still} of {before}")
        return
    if left > found.get("detectors", left) + 0.5:
        yield _odd("more dense detectors are left than there are detectors", f"{still} of {before}")
    if still == 0 and (same is not None or "iou_correlation" in found):
        yield _odd("nothing is still interpretable, yet its concepts are compared", f"{same}")
    if same is not None and not is_whole(same * round(left)):
        yield _odd("same_concept is no share of those still interpretable", f"{same}")


def _layers(found: Mapping[str, float], told: Any) -> Oddities:
    """The units of the layers that were dissected."""
    layers = told.get("layers") if isinstance(told, dict) else None
    if not isinstance(layers, list):
        return
    for name in ("units", "units_dense"):
        units = [layer.get(name) for layer in layers if isinstance(layer, dict)]
        counted = [n for n in units if type(n) is int]
        if len(counted) == len(layers) and name in found and found[name] != sum(counted):
            yield _odd(f"{name} are not those of the layers dissected", f"{found[name]} and {sum(counted)}")


def _odd(kind: str, detail: str) -> Oddity:
    return Oddity(f"{_PREFIX}{kind}", detail)
