"""The stage of a data set: its splits as one file that all workers share."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, cast

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.errors import DataError, PluginError
from benchsuite.store.file_digests import read_digest
from benchsuite.store.stages import Stage, load_tensors, save_tensors
from benchsuite.training.data_checks import checked, overlap
from benchsuite.trials.facts import DataFacts

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite.contracts.dataset import DatasetPlugin
    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.trials.worker_context import WorkerContext

_FILE = "data.safetensors"
_PARTS = [(split, part) for split in ("train", "validation", "test") for part in ("inputs", "labels")]


def load_data(worker: WorkerContext, choice: PluginChoice, key: str) -> tuple[Dataset, DataFacts]:
    """The data set, from its stage if that exists, else from its plugin; and the stage's facts.

    The tensors of a stage are mapped from one file, so that all workers share one copy in memory.
    """
    folder = worker.folder(key)
    stage = Stage(folder, DataFacts, [_FILE], accept_old=worker.reads_old_runs)
    facts = stage.get(lambda: _keep(worker, choice, folder), worker.tell)
    tensors = load_tensors(folder / _FILE)
    splits = {
        name: Split(tensors[f"{name}/inputs"], tensors[f"{name}/labels"])
        for name in ("train", "validation", "test")
    }
    augmentation = Augmentation(**facts.augmentation)
    return Dataset(
        **splits, classes=facts.classes, mean=facts.mean, std=facts.std, augmentation=augmentation
    ), facts


def _keep(worker: WorkerContext, choice: PluginChoice, folder: Path) -> DataFacts:
    plugin = cast("DatasetPlugin", worker.create("dataset", choice))
    fingerprint = partial(plugin.fingerprint, worker.configuration.data)
    worker.check_content("dataset", choice, fingerprint)
    with covered_imports("dataset", plugin):
        dataset = plugin.load(worker.configuration.data)
    worker.check_content("dataset", choice, fingerprint)
    if not isinstance(dataset, Dataset):
        raise PluginError(f"data set {choice.label}: load() returned {type(dataset).__name__}, not a Dataset")
    try:
        dataset = checked(dataset)
    except DataError as error:
        raise DataError(f"data set {choice.label}: {error}") from error
    shared = overlap(dataset)
    if shared:
        of = f"{shared} of the {len(dataset.test)}"
        worker.tell(f"data set {choice.label}: {of} test samples are training samples too")
    tensors = {f"{name}/{part}": getattr(getattr(dataset, name), part) for name, part in _PARTS}
    save_tensors(folder / _FILE, tensors)
    return DataFacts(
        classes=dataset.classes,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=asdict(dataset.augmentation),
        digest=read_digest(folder / _FILE),
        overlap=shared,
    )
