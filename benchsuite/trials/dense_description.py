"""Describes a dense network for people, in a worker: which classes it confuses, and what units respond to."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchsuite.drawing.confusion import confusion_csv, confusion_svg
from benchsuite.drawing.feature_maps import TILE, labelled_svg, png, sheet, tile
from benchsuite.errors import Unsupported
from benchsuite.hardware.devices import exact_float32
from benchsuite.metrics.accuracy import evaluate
from benchsuite.scoring.points import as_maps, find_points, reading
from benchsuite.scoring.sampled_network import seeded
from benchsuite.store.files import own_directory, write_atomically
from benchsuite.trials.dense_model import load_dense
from benchsuite.trials.description import MAPS, NETWORK, Description, FeatureMaps
from benchsuite.trials.ranking import FOLDER, ranking_folder

if TYPE_CHECKING:
    from torch import nn

    from benchsuite.contracts.layers import Layer
    from benchsuite.training import DeviceDataset, DeviceSplit
    from benchsuite.trials.description import Counts, DescribeTask, Units
    from benchsuite.trials.worker_context import WorkerContext

MOST_SAMPLES = 10_000
"""The training split is counted by at most so many of its samples."""
IMAGES = 2


def describe_dense(worker: WorkerContext, task: DescribeTask) -> None:
    """Count the errors of a dense network by class, draw feature maps of its units, and keep both."""
    dense = load_dense(worker, task.dense)
    classes = dense.data.classes
    train = evaluate(dense.model, _part(dense.data.train), classes, network="the dense network").confusion
    test = torch.tensor(dense.facts.confusion)
    run = worker.configuration.run
    folder = ranking_folder(run, task.dense.key)
    own_directory(run / FOLDER)
    own_directory(folder)
    files: dict[str, str | bytes] = {}
    for name, counts in (("train", train), ("test", test)):
        files[f"confusion-{name}.csv"] = confusion_csv(counts, classes)
        files[f"confusion-{name}.svg"] = confusion_svg(counts, classes)
    maps, pictures = _feature_maps(dense.model, dense.graph.layers, dense.data, task.units)
    for name in (MAPS, "maps.svg"):
        if name not in pictures:
            (folder / name).unlink(missing_ok=True)
    found = Description(task.key, classes, _plain(test), _plain(train), len(dense.data.train), maps)
    # The file that holds the key comes last: where it is, the others are there too.
    for name, content in {**files, **pictures, NETWORK: json.dumps(asdict(found))}.items():
        write_atomically(folder / name, content)


def _plain(counts: Tensor) -> Counts:
    return tuple(tuple(int(count) for count in row) for row in counts.tolist())


def _part(split: DeviceSplit) -> DeviceSplit:
    """At most `MOST_SAMPLES` of a split's samples, always the same ones."""
    if len(split) <= MOST_SAMPLES:
        return split
    chosen = torch.randperm(len(split), generator=seeded(0, "described"))[:MOST_SAMPLES]
    chosen = chosen.to(split.labels.device)
    return replace(split, inputs=split.inputs[chosen], labels=split.labels[chosen])


def _feature_maps(
    model: nn.Module, layers: tuple[Layer, ...], data: DeviceDataset, units: Units
) -> tuple[FeatureMaps | None, dict[str, str | bytes]]:
    """What the picture of feature maps shows, and its files; none for inputs that are no images."""
    name = "validation" if len(data.validation) else "test"
    split: DeviceSplit = getattr(data, name)
    if not isinstance(split.inputs, Tensor) or split.inputs.dim() != 4:
        return None, {}
    chosen = _of_different_classes(split.labels)
    images = split.inputs[chosen]
    found = maps_of(model, layers, split.normalise(images))
    rows = [
        (layer, [unit for unit in of_it if unit < found[layer].shape[1]])
        for layer, of_it in units
        if layer in found
    ]
    rows = [(layer, of_it) for layer, of_it in rows if of_it]
    if not rows:
        return None, {}
    first = [tile(images.float().mean(1).cpu().numpy())]
    drawn = [[tile(found[layer][:, unit].numpy()) for unit in of_it] for layer, of_it in rows]
    picture = png(sheet([first, *drawn]))
    classes = tuple(data.classes[int(split.labels[place])] for place in chosen)
    maps = FeatureMaps(TILE, name, classes, tuple((layer, tuple(of_it)) for layer, of_it in rows))
    texts = [(f"{name} images: {', '.join(classes)}", [""])]
    texts += [(layer, [str(unit) for unit in of_it]) for layer, of_it in rows]
    return maps, {MAPS: picture, "maps.svg": labelled_svg(picture, TILE * len(chosen), texts)}


def maps_of(model: nn.Module, layers: tuple[Layer, ...], inputs: Any) -> dict[str, Tensor]:
    """By layer, what its units give for some images after the non-linearity, (images, units, height, width).

    Layers without two finite dimensions of positions are left out, as are those whose output cannot be given
    to samples.
    """
    found: dict[str, Tensor] = {}
    by_name = {layer.name: layer for layer in layers}

    def keep(name: str, tensor: Tensor) -> None:
        try:
            maps = as_maps(by_name[name], tensor, len(inputs))
        except Unsupported:
            return  # its rows are not those of samples, so that there is nothing to draw
        if maps.dim() == 4 and maps.isfinite().all():
            found[name] = maps.float().cpu().clone()

    with torch.no_grad(), exact_float32():
        points = {n: point for n, point in find_points(model, layers, inputs).items() if point.fault is None}
        with reading([layer for layer in layers if layer.name in points], points, keep):
            model(inputs)
    return found


def _of_different_classes(labels: Tensor) -> list[int]:
    """The first sample of each of the first `IMAGES` classes that there are; of one class its first ones."""
    places = {int(label): place for place, label in reversed(list(enumerate(labels.tolist())))}
    chosen = sorted(places.values())[:IMAGES]
    return chosen if len(chosen) == IMAGES else list(range(min(IMAGES, len(labels))))
