"""The counts of dissection, compared with loops over pixels written from the paper's definition."""

from __future__ import annotations

from fractions import Fraction

import dissection_definition
import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.contracts.concepts import Concept, ConceptSample, ConceptSet
from benchsuite.errors import Unsupported
from benchsuite.metrics.dissection import measure
from benchsuite.metrics.dissection.measure import dissect, null_assignments
from benchsuite.metrics.dissection.packing import pack
from benchsuite.metrics.dissection.settings import DissectionSettings

CONCEPTS = (
    Concept("red", "color"),
    Concept("wheel", "part"),
    Concept("car", "object"),
    Concept("street", "scene"),
    Concept("green", "color"),
    Concept("striped", "texture"),
)


def tiny_set(images=20, size=10, label_size=(11, 9)):
    """Images with 0 to 3 label maps, overlapping, repeating each other or a whole-image label."""
    generator = np.random.default_rng(3)
    samples = []
    for n in range(images):
        maps = generator.integers(0, len(CONCEPTS) + 1, (n % 4, *label_size)).astype(np.uint8)
        maps[generator.random(maps.shape) < 0.4] = 0
        if n % 4 == 3:
            maps[1] = maps[0]
        labels = {1: (4,), 2: (4, 6), 7: (1,)}.get(n % 10, ())
        blocks = generator.integers(0, 256, (3, size // 5, size // 5))
        image = np.kron(blocks, np.ones((5, 5))).astype(np.uint8)
        samples.append(ConceptSample(image, maps, labels))
    return ConceptSet(samples, CONCEPTS)


def tiny_network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 7, 2), nn.ReLU()
    )
    with torch.no_grad():
        net[4].weight[2], net[4].bias[2] = 0, -1  # a dead unit
        net[4].weight[3], net[4].bias[3] = 0, 0.7  # a constant one
    return net.eval()


def run(net, packed, **settings):
    chosen = DissectionSettings(**{"batch_size": 6, "layers": ("0", "4"), **settings})
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    return dissect(net, packed, chosen, device="cpu", mean=mean, std=std, input_shape=(3, 10, 10))


def maps_of(net, concept_set, batch=6):
    images = torch.from_numpy(np.stack([s.image for s in concept_set.samples])).float() / 255
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    inputs = (images - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        first = torch.cat([net[:3](part) for part in inputs.split(batch)])
        second = torch.cat([net(part) for part in inputs.split(batch)])
    return first.numpy(), second.numpy()


@pytest.mark.parametrize("quantile", [0.005, 0.1])
@pytest.mark.parametrize("kept_bytes", [0, 10**9])
def test_counts_equal_a_loop_over_pixels(quantile, kept_bytes, monkeypatch):
    monkeypatch.setattr(measure, "KEPT_BYTES", kept_bytes)
    concept_set, net = tiny_set(), tiny_network()
    found = run(net, pack(concept_set), quantile=quantile, null_draws=2)
    assert [layer.name for layer in found.layers] == ["0", "4"]
    for layer, maps in zip(found.layers, maps_of(net, concept_set), strict=True):
        thresholds, shared, area, total = dissection_definition.dissect(maps, concept_set, quantile)
        np.testing.assert_array_equal(layer.thresholds, np.array(thresholds, np.float32))
        np.testing.assert_array_equal(layer.intersections, shared)
        np.testing.assert_array_equal(found.pixels, total)
        for index, category in enumerate(found.categories):
            np.testing.assert_array_equal(layer.areas[:, index], [unit[category] for unit in area])
        assert layer.intersections.sum() > 10
        ious = found.ious(layer)
        for unit, concept in np.ndindex(ious.shape):
            size = area[unit][CONCEPTS[concept].category]
            union = size + total[concept] - shared[unit][concept]
            assert ious[unit, concept] == shared[unit][concept] / union


def test_null_counts_are_those_of_reassigned_labels():
    concept_set, net = tiny_set(), tiny_network()
    found = run(net, pack(concept_set), quantile=0.1, null_draws=2)
    for draw, source in enumerate(null_assignments(20, 2)):
        samples = concept_set.samples
        pairs = zip(samples, source, strict=True)
        moved = ConceptSet(
            [ConceptSample(s.image, samples[i].masks, samples[i].labels) for s, i in pairs], CONCEPTS
        )
        expected = run(net, pack(moved), quantile=0.1, null_draws=1)
        for layer, other in zip(found.layers, expected.layers, strict=True):
            ious = expected.ious(other)
            np.testing.assert_array_equal(layer.null_ious[draw], ious.max(1))
            np.testing.assert_array_equal(layer.null_concepts[draw], ious.argmax(1))
            assert (ious != found.ious(layer)).any()


def test_null_assignments_give_every_image_the_labels_of_another():
    for assignment in null_assignments(17, 3):
        assert sorted(assignment.tolist()) == list(range(17))
        assert all(source != image for image, source in enumerate(assignment.tolist()))


def test_dead_and_constant_units_have_empty_masks():
    found = run(tiny_network(), pack(tiny_set()), quantile=0.1)
    layer = found.layers[1]
    assert layer.thresholds[2] == 0
    assert layer.thresholds[3] == np.float32(0.7)
    for unit in (2, 3):
        assert not layer.intersections[unit].any()
        assert not layer.areas[unit].any()
        assert found.best(layer)[0][unit] == -1


def test_batches_do_not_change_the_counts():
    packed, net = pack(tiny_set()), tiny_network()
    for size in (1, 20, 64):
        other = run(net, packed, quantile=0.1, batch_size=size)
        for a, b in zip(run(net, packed, quantile=0.1).layers, other.layers, strict=True):
            np.testing.assert_array_equal(a.intersections, b.intersections)
            np.testing.assert_array_equal(a.areas, b.areas)


def test_top_images_and_regions_are_those_of_the_largest_values():
    concept_set, net = tiny_set(), tiny_network()
    found = run(net, pack(concept_set), quantile=0.1)
    maps = maps_of(net, concept_set)[0]
    layer = found.layers[0]
    height, width = found.mask_size
    for unit in range(layer.units):
        order = np.argsort(-maps[:, unit].max((1, 2)), kind="stable")
        assert layer.top_images[unit].tolist() == order[:4].tolist()
        for rank, image in enumerate(order[:4]):
            region = np.unpackbits(layer.regions[unit, rank], count=height * width).reshape(height, width)
            field = [[Fraction(float(value)) for value in row] for row in maps[image, unit]]
            values = np.array(dissection_definition.interpolated(field, height, width))
            np.testing.assert_array_equal(region, values > Fraction(float(layer.thresholds[unit])))


def test_the_model_is_left_as_it_was():
    net = tiny_network()
    net[1].train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run(net, pack(tiny_set()))
    assert [module.training for module in net] == [False, True, False, False, False, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_images_are_brought_to_the_networks_input():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    concept_set = tiny_set()
    settings = DissectionSettings(input_size=20, batch_size=20, quantile=0.1)
    found = dissect(
        net, pack(concept_set), settings, device="cpu", mean=(0.5,), std=(0.2,), input_shape=(1, 8, 8)
    )
    images = torch.from_numpy(np.stack([s.image for s in concept_set.samples])).float() / 255
    grey = nn.functional.interpolate(images.mean(1, keepdim=True), (20, 20), mode="bilinear", antialias=True)
    with torch.no_grad():
        maps = net((grey - 0.5) / 0.2).numpy()
    expected = np.quantile(maps.astype(np.float64), 0.9, axis=(0, 2, 3))
    np.testing.assert_allclose(found.layers[0].thresholds, expected, rtol=1e-6)
    assert found.layers[0].map_size == (18, 18)


@pytest.mark.parametrize(
    ("shape", "message"), [((21,), "network for images"), ((4, 8, 8), "3 channels, .* takes 4")]
)
def test_networks_that_take_no_such_images_are_unsupported(shape, message):
    with pytest.raises(Unsupported, match=message):
        dissect(
            nn.Conv2d(4, 2, 3),
            pack(tiny_set()),
            DissectionSettings(),
            device="cpu",
            mean=(0,),
            std=(1,),
            input_shape=shape,
        )
