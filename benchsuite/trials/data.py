"""The stage of a data set: its splits as one file that all workers share."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, cast

from benchsuite.contracts.covered_imports import covered_imports
from benchsuite.contracts.dataset import Augmentation, Dataset, Split
from benchsuite.contracts.inputs import TensorMap, from_names, under_names
from benchsuite.contracts.named_inputs import Tokens
from benchsuite.errors import DataError, PluginError
from benchsuite.store.file_digests import read_digest
from benchsuite.store.stages import Stage, load_tensors, save_tensors
from benchsuite.training.data_checks import checked, overlap
from benchsuite.trials.facts import DataFacts

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchsuite.contracts.dataset import DatasetPlugin
    from benchsuite.contracts.inputs import Inputs
    from benchsuite.contracts.plugin import PluginChoice
    from benchsuite.trials.worker_context import WorkerContext

_FILE = "data.safetensors"
_SPLITS = ("train", "validation", "test")


def load_data(worker: WorkerContext, choice: PluginChoice, key: str) -> tuple[Dataset, DataFacts]:
    """The data set, from its stage if that exists, else from its plugin; and the stage's facts.

    The tensors of a stage are mapped from one file, so that all workers share one copy in memory.
    """
    folder = worker.folder(key)
    stage = Stage(folder, DataFacts, [_FILE], accept_old=worker.reads_old_runs)
    facts = stage.get(lambda: _keep(worker, choice, folder), worker.tell)
    tensors = load_tensors(folder / _FILE)
    tokens = None
    if facts.tokens is not None:
        tokens = Tokens(**{**facts.tokens, "words": tuple(facts.tokens.get("words", ()))})
    mask = None if tokens is None else tokens.mask
    splits = {
        name: Split(from_names(tensors, f"{name}/inputs", facts.inputs, mask), tensors[f"{name}/labels"])
        for name in _SPLITS
    }
    dataset = Dataset(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        classes=facts.classes,
        mean=facts.mean,
        std=facts.std,
        augmentation=Augmentation(**facts.augmentation),
        tokens=tokens,
    )
    return dataset, facts


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
    save_tensors(folder / _FILE, _tensors(dataset))
    return DataFacts(
        classes=dataset.classes,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=asdict(dataset.augmentation),
        digest=read_digest(folder / _FILE),
        overlap=shared,
        inputs=tuple(inputs.parts) if isinstance(inputs := dataset.train.inputs, TensorMap) else (),
        tokens=None if dataset.tokens is None else asdict(dataset.tokens),
    )


def _tensors(dataset: Dataset) -> dict[str, Tensor]:
    """What is kept of a checked data set."""
    tensors: dict[str, Tensor] = {}
    for name in _SPLITS:
        split: Split = getattr(dataset, name)
        tensors |= under_names(cast("Inputs", split.inputs), f"{name}/inputs")
        tensors[f"{name}/labels"] = split.labels
    return tensors
