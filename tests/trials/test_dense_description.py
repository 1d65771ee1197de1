"""The description of a dense network: counts against scikit-learn, feature maps against hooks."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn

import benchsuite
from benchsuite.drawing.feature_maps import TILE, tile
from benchsuite.hardware.devices import prepare
from benchsuite.plan.matrix import build_plan
from benchsuite.registry.discovery import discover
from benchsuite.store.run_directory import RunDirectory
from benchsuite.suite import load_suite
from benchsuite.trials import dense_description
from benchsuite.trials.dense_description import describe_dense
from benchsuite.trials.dense_model import load_dense
from benchsuite.trials.description import pending_descriptions, stored_description
from benchsuite.trials.ranking import ranking_folder, update_rankings
from benchsuite.trials.scores import score_dense
from benchsuite.trials.training_trace import train_with_traces
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from benchsuite.plan.trial import Trial


class Stripes(benchsuite.DatasetPlugin):
    """Noisy stripes of three directions, in two colours, with or without validation images."""

    name = "stripes"
    validation: bool = True

    def load(self, folder: Path) -> benchsuite.Dataset:
        generator = torch.Generator().manual_seed(0)
        patterns = torch.rand(3, 2, 6, 9, generator=generator) * 120

        def split(count: int) -> benchsuite.Split:
            labels = torch.randint(3, (count,), generator=generator)
            noise = torch.rand(count, 2, 6, 9, generator=generator) * 130
            return benchsuite.Split((patterns[labels] + noise).to(torch.uint8), labels)

        parts = split(90), split(30 if self.validation else 0), split(60)
        return benchsuite.Dataset(*parts, ("a", "b", "c"), mean=(0.4,), std=(0.2,))


class Small(benchsuite.ModelPlugin):
    """A convolution, a pool, another convolution, and a linear layer."""

    name = "small-conv"
    recipe = benchsuite.TrainingRecipe(epochs=2, batch_size=30, learning_rate=0.05)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        first, second = nn.Conv2d(input_shape[0], 6, 3, padding=1), nn.Conv2d(6, 4, 3)
        features = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.LeakyReLU()]
        return nn.Sequential(*features, nn.Flatten(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, classes))


class Workshop:
    """A run directory with a trained and scored network."""

    def __init__(self, folder: Path, dataset: str = '"stripes"', model: str = "small-conv") -> None:
        registry, _ = discover()
        registry.add("dataset", Stripes, "this test", "-")
        registry.add("model", Small, "this test", "-")
        self.run = RunDirectory(folder)
        (folder / "suite.toml").write_text(
            '[suite]\nname = "t"\nseeds = [0]\nsparsities = [0.5]\n'
            'scorers = ["magnitude-l1", "mean-activation"]\ncontrols = []\n'
            f'[[workload]]\ndataset = {dataset}\nmodels = ["{model}"]\n[metrics]\nlatency = false\n'
        )
        suite = load_suite(folder / "suite.toml", registry)
        self.trials: list[Trial] = build_plan(suite, registry, folder)
        self.worker = WorkerContext(RunConfiguration(folder, folder), registry, prepare("cpu", 1), 1)
        train_with_traces(self.worker, self.trials[0].dense, self.trials[0].traces)
        for trial in self.trials:
            score_dense(self.worker, trial.score)
        update_rankings(self.run, self.trials)
        self.key = self.trials[0].dense.key
        self.folder = ranking_folder(folder, self.key)

    def describe(self) -> None:
        (task,) = pending_descriptions(self.run, self.trials)
        describe_dense(self.worker, task)


def predicted(workshop: Workshop, split: str) -> tuple[list[int], list[int]]:
    dense = load_dense(workshop.worker, workshop.trials[0].dense)
    part = getattr(dense.data, split)
    with torch.no_grad():
        outputs = dense.model((part.inputs.float() / 255 - 0.4) / 0.2)
    return part.labels.tolist(), outputs.argmax(1).tolist()


def test_the_counts_are_those_of_scikit_learn_and_pictures_show_what_hooks_see(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.describe()
    found = stored_description(tmp_path, workshop.key)
    assert found is not None
    for split, counts in (("train", found.train), ("test", found.test)):
        assert np.array_equal(counts, confusion_matrix(*predicted(workshop, split), labels=[0, 1, 2]))
        text = (workshop.folder / f"confusion-{split}.csv").read_text().splitlines()
        assert text[1] == ",".join(map(str, ["a", *counts[0]]))
    assert found.train_samples == 90
    assert found.maps is not None
    assert found.maps.split == "validation"
    # A linear layer has a number for an image, and no map.
    assert [layer for layer, _ in found.maps.layers] == ["0", "3"]

    dense = load_dense(workshop.worker, workshop.trials[0].dense)
    split = dense.data.validation
    labels = split.labels.tolist()
    places = sorted(labels.index(label) for label in set(labels))[:2]
    assert found.maps.classes == tuple("abc"[labels[place]] for place in places)
    seen: dict[str, Tensor] = {}
    for name, after in (("0", 1), ("3", 4)):
        dense.model[after].register_forward_hook(
            lambda _m, _i, out, name=name: seen.update({name: out.clone()})
        )
    with torch.no_grad():
        dense.model((split.inputs[places].float() / 255 - 0.4) / 0.2)
    sheet = np.asarray(Image.open(io.BytesIO((workshop.folder / "maps.png").read_bytes())))
    for row, (layer, units) in enumerate(found.maps.layers, start=1):
        for column, unit in enumerate(units):
            top, left = 2 * TILE * row, TILE * column
            drawn = sheet[top : top + 2 * TILE, left : left + TILE].astype(int)
            assert np.abs(drawn - tile(seen[layer][:, unit].numpy())).max() <= 1
    grey = tile(split.inputs[places].float().mean(1).numpy())
    assert (sheet[: 2 * TILE, :TILE] == grey).all()
    assert not pending_descriptions(workshop.run, workshop.trials), "it is there"


def test_without_validation_images_those_of_the_test_split_are_shown(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, '{ name = "stripes", validation = false }')
    workshop.describe()
    found = stored_description(tmp_path, workshop.key)
    assert found is not None
    assert found.maps is not None
    assert found.maps.split == "test"


def test_a_large_training_split_is_counted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_description, "MOST_SAMPLES", 40)
    workshop = Workshop(tmp_path)
    workshop.describe()
    found = stored_description(tmp_path, workshop.key)
    assert found is not None
    assert (int(np.sum(found.train)), found.train_samples, int(np.sum(found.test))) == (40, 90, 60)


def test_inputs_that_are_no_images_have_no_maps(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, '{ name = "word-order", samples = 400 }', "text-encoder")
    workshop.describe()
    found = stored_description(tmp_path, workshop.key)
    assert found is not None
    assert found.maps is None
    assert not (workshop.folder / "maps.png").exists()
    assert np.array_equal(found.test, load_dense(workshop.worker, workshop.trials[0].dense).facts.confusion)


def test_an_edited_description_is_not_shown_and_is_made_anew(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.describe()
    path = workshop.folder / "network.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "test": data["test"][:-1]}))
    assert stored_description(tmp_path, workshop.key) is None
    assert len(pending_descriptions(workshop.run, workshop.trials)) == 1
