"""Logged models: networks of a run as MLflow models that anyone can load, without pickled code.

A model is the program that torch.export makes of the network, with signature, input example, the metrics of
its run and how it was made. This needs torch, which the main process of a run does not import.
"""

from __future__ import annotations

import tempfile
import tomllib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import mlflow.pytorch
import torch
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from benchsuite._version import __version__
from benchsuite.contracts.recipe import TrainingRecipe
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.hardware.devices import prepare
from benchsuite.plan.dense_task import DenseTask
from benchsuite.registry.loading import installed, load_plugins
from benchsuite.store import metric_names
from benchsuite.suite import Workload
from benchsuite.tracking import mlflow_fields
from benchsuite.tracking.connection import connect, search
from benchsuite.trials.dense_model import DenseModel, load_dense
from benchsuite.trials.pruned_model import load_pruned, outputs_on, relative_difference
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord
    from benchsuite.tracking.model_choice import ChosenModel
    from benchsuite.tracking.request import Request

_TOLERANCE = 1e-5
"""Largest accepted difference between the outputs of program and network, relative to the largest output."""


@dataclass(frozen=True)
class _Finished:
    """The part of a trial that `load_pruned` needs; the trial's suite and plugins may be missing."""

    key: str
    dense: DenseTask


def log_all(request: Request, tell: Callable[[str], None]) -> None:
    """Log the models of a request; call `tell` with a sentence for each that cannot be logged."""
    shipped = (source for source in installed() if source.shipped)
    registry = load_plugins([*shipped, *request.plugins]).registry
    run = Path(request.directory)
    worker = WorkerContext(
        RunConfiguration(run, run / "data"), registry, prepare("cpu", 1), 1, reads_old_runs=True
    )
    client = connect(request.uri, run / "mlflow.db")
    for choice in request.choices:
        try:
            _log(client, request, worker, choice)
        except Exception as error:  # noqa: BLE001 - torch.export, MLflow and a model's plugin raise anything
            reason = next(iter(str(error).strip().splitlines()), "")
            tell(f"{choice.name}: {type(error).__name__}: {reason}")


def dense_task(suite_file: Path, record: TrialRecord) -> DenseTask:
    """The task of a record's dense model, from the suite's workloads and the record's own stages.

    Raises:
        UsageError: the suite does not have the data set or model.
    """
    # Without a registry: plugins that are not needed here, such as somebody's scorer, may be missing.
    found = [Workload.model_validate(w) for w in tomllib.loads(suite_file.read_text("utf-8"))["workload"]]
    dataset = next((w.dataset for w in found if w.dataset.label == record.axes["dataset"]), None)
    model = next((m for w in found for m in w.models if m.label == record.axes["model"]), None)
    if dataset is None or model is None:
        raise UsageError(f"{suite_file} has no {record.axes['model']} on {record.axes['dataset']} any more")
    return DenseTask(
        dataset=dataset.choice,
        model=model.choice,
        recipe=TrainingRecipe.model_validate(record.provenance["training_recipe"]),
        seed=record.axes["seed"],
        network="",
        data_key=record.stages["data"],
        key=record.stages["train"],
    )


def _log(client: MlflowClient, request: Request, worker: WorkerContext, choice: ChosenModel) -> None:
    """Log one network; a model that cannot be completed is marked as failed."""
    source = next(iter(search(client, request.experiment, mlflow_fields.KEY_TAG, choice.key)), None)
    if source is None:
        raise BenchsuiteError("MLflow has no run of it")
    network, dense = _network(worker, choice)
    labels = {**_labels(choice, source), mlflow_fields.ORIGIN_TAG: request.origin}
    logged = client.create_logged_model(
        request.experiment,
        name=choice.name,
        source_run_id=source.info.run_id,
        tags=mlflow_fields.within_limits(labels),
        params=dict(source.data.params),
        model_type=choice.kind,
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            form = Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=source.info.run_id,
                model_id=logged.model_id,
            )
            save(network, dense, path, form, choice)
            client.log_model_artifacts(logged.model_id, str(path))
        client.log_outputs(source.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        _log_metrics(client, source, logged.model_id)
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")


def _network(worker: WorkerContext, choice: ChosenModel) -> tuple[torch.nn.Module, DenseModel]:
    task = dense_task(worker.configuration.run / "suite.toml", choice.record)
    if choice.kind == "dense":
        dense = load_dense(worker, task)
        return dense.model, dense
    pruned = load_pruned(worker, cast("Trial", _Finished(choice.key, task)))
    return pruned.model, pruned.dense


def save(network: torch.nn.Module, dense: DenseModel, path: Path, form: Model, choice: ChosenModel) -> None:
    """Write a network as an MLflow model of the PyTorch and Python flavours, and load it again to compare.

    Raises:
        BenchsuiteError: the written model computes something else than the network.
    """
    example = dense.probe.cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from torch and MLflow, about what is intended here
        outputs = outputs_on(network, dense.probe).numpy()
        mlflow.pytorch.save_model(
            network.eval(),
            path,
            mlflow_model=form,
            signature=ModelSignature(Schema([_spec(example)]), Schema([_spec(outputs)])),
            input_example=example,
            # It consists of a graph and tensors: loading it runs none of our code.
            serialization_format="pt2",
            pip_requirements=[f"{name}=={_release(name)}" for name in ("mlflow", "numpy", "torch")],
            metadata=_history(dense, choice),
        )
        program = torch.export.load(path / "data" / "model.pt2").module()
    for inputs in (dense.probe, dense.probe[:1]):
        with torch.no_grad():
            difference = relative_difference(program(inputs), outputs_on(network, inputs))
        if not difference <= _TOLERANCE:
            raise BenchsuiteError(f"its program differs from it by {difference:.2g} of the largest output")


def _spec(values: np.ndarray[Any, Any]) -> TensorSpec:
    """The tensor specification of such values for any number of samples."""
    return TensorSpec(values.dtype, (-1, *values.shape[1:]))


def _release(package: str) -> str:
    from importlib.metadata import version

    return version(package).partition("+")[0]


def _history(dense: DenseModel, choice: ChosenModel) -> dict[str, Any]:
    """What a user needs to know besides the program, for the file MLmodel."""
    image = dense.data.train.inputs.dtype == torch.uint8
    return {
        "axes": choice.record.axes,
        "input": {
            "shape": list(dense.data.input_shape),
            "scale": "pixels from 0 to 1, normalised" if image else "features, normalised",
            "mean": list(dense.mean),
            "std": list(dense.std),
        },
        "classes": list(dense.data.classes),
        "chosen": choice.reason,
        "benchsuite": __version__,
    }


def _labels(choice: ChosenModel, source: Run) -> dict[str, str]:
    axes = {name: str(choice.record.axes.get(name)) for name in ("dataset", "model", "seed")}
    kept = {n: v for n, v in source.data.tags.items() if n.startswith("provenance.")}
    return {
        **kept,
        mlflow_fields.KEY_TAG: choice.key,
        mlflow_fields.KIND_TAG: choice.kind,
        mlflow_fields.CHOICE_TAG: choice.reason,
        mlflow_fields.NOTE_TAG: f"{choice.reason}\n\nThe network of benchsuite run {source.info.run_name}.",
        "chosen_by": "seed order" if choice.kind == "dense" else "test accuracy",
        **axes,
    }


def _log_metrics(client: MlflowClient, source: Run, model_id: str) -> None:
    """Log the metrics of its run to the model, with the same times."""
    inputs = [entry.dataset for entry in source.inputs.dataset_inputs] if source.inputs else []
    data = {"dataset_name": inputs[0].name, "dataset_digest": inputs[0].digest} if inputs else {}
    metrics = [
        Metric(m.key, m.value, m.timestamp, m.step, model_id=model_id, run_id=source.info.run_id, **data)
        for name in source.data.metrics
        if name.startswith(
            (metric_names.ACCURACY, metric_names.COST, metric_names.SPARSITY, metric_names.LATENCY)
        )
        and "/class/" not in name
        for m in client.get_metric_history(source.info.run_id, name)[-1:]
    ]
    client.log_batch(source.info.run_id, metrics=metrics)
