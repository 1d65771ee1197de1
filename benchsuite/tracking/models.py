"""Logged models: networks of a run as MLflow models that anyone can load, without pickled code.

A model is the program that torch.export makes of the network, with signature, input example, the metrics of
its run and how it was made. This needs torch, which the main process of a run does not import.
"""

from __future__ import annotations

import platform
import tempfile
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
from benchsuite.contracts.inputs import TensorMap, tensors_of
from benchsuite.errors import BenchsuiteError
from benchsuite.hardware.devices import prepare
from benchsuite.pruning.transposed import with_layers_of_torch
from benchsuite.registry.loading import installed, load_plugins
from benchsuite.store import metric_names
from benchsuite.store.stages import load_tensors
from benchsuite.tracking import mlflow_fields
from benchsuite.tracking.connection import connect, search
from benchsuite.tracking.dense_tasks import dense_task
from benchsuite.trials.dense_model import DenseModel, load_dense
from benchsuite.trials.export import what_it_takes
from benchsuite.trials.facts import OUTPUTS
from benchsuite.trials.pruned_model import load_pruned, outputs_on, relative_difference
from benchsuite.trials.worker_context import RunConfiguration, WorkerContext

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.plan.dense_task import DenseTask
    from benchsuite.plan.trial import Trial
    from benchsuite.tracking.model_choice import ChosenModel
    from benchsuite.tracking.request import Request

_TOLERANCE = 1e-5
"""Largest accepted difference between the outputs of program and network, relative to the largest output."""
_TOLERANCE_OF_DEVICES = 1e-3
"""The same where the trial may have run on another device."""


@dataclass(frozen=True)
class _Finished:
    """The part of a trial that `load_pruned` needs; the trial's suite and plugins may be missing."""

    key: str
    dense: DenseTask


@dataclass(frozen=True, eq=False)
class Network:
    """A network to log.

    Attributes:
        model: the network.
        dense: the dense model that it is or was.
        outputs: what the trial stored of its outputs on the probe; None for a dense model, of which none are
            stored.
    """

    model: torch.nn.Module
    dense: DenseModel
    outputs: torch.Tensor | None = None


def log_all(request: Request, answer: Callable[[str | None], None]) -> None:
    """Log the models of a request.

    `answer` is called with None when everything is loaded, and then for each network, with the reason if it
    cannot be logged.
    """
    shipped = (source for source in installed() if source.shipped)
    registry = load_plugins([*shipped, *request.plugins]).registry
    run = Path(request.directory)
    worker = WorkerContext(
        RunConfiguration(run, run / "data"), registry, prepare("cpu", 1), 1, reads_old_runs=True
    )
    client = connect(request.uri, run / "mlflow.db")
    answer(None)
    for choice in request.choices:
        try:
            _log(client, request, worker, choice)
        except BaseException as error:  # noqa: BLE001 - torch.export, MLflow and a model's plugin raise anything
            reason = next(iter(str(error).strip().splitlines()), "")
            answer(f"{type(error).__name__}: {reason}")
        else:
            answer(None)


def _log(client: MlflowClient, request: Request, worker: WorkerContext, choice: ChosenModel) -> None:
    """Log one network; a model that cannot be completed is marked as failed."""
    source = next(iter(search(client, request.experiment, mlflow_fields.KEY_TAG, choice.key)), None)
    if source is None:
        raise BenchsuiteError("MLflow has no run of it")
    network = _network(worker, choice)
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
            save(network, path, form, choice)
            client.log_model_artifacts(logged.model_id, str(path))
        client.log_outputs(source.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        _log_metrics(client, source, logged.model_id)
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")


def _network(worker: WorkerContext, choice: ChosenModel) -> Network:
    task = dense_task(worker.configuration.run / "suite.toml", choice.record)
    if choice.kind == "dense":
        dense = load_dense(worker, task)
        return Network(with_layers_of_torch(dense.model), dense)
    pruned = load_pruned(worker, cast("Trial", _Finished(choice.key, task)))
    stored = load_tensors(worker.folder(choice.key) / OUTPUTS)["outputs"]
    return Network(with_layers_of_torch(pruned.model), pruned.dense, stored)


def save(network: Network, path: Path, form: Model, choice: ChosenModel) -> None:
    """Write a network as an MLflow model of the PyTorch and Python flavours, and load it again to compare.

    Raises:
        BenchsuiteError: the written model computes something else than the network, or than the network did
            in its trial.
    """
    model, probe = network.model, network.dense.probe
    parts = [part.cpu().numpy() for part in tensors_of(probe)]
    names = list(probe.parts) if isinstance(probe, TensorMap) else [None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from torch and MLflow, about what is intended here
        outputs = outputs_on(model, probe).numpy()
        mlflow.pytorch.save_model(
            model.eval(),
            path,
            mlflow_model=form,
            signature=ModelSignature(Schema(list(map(_spec, parts, names))), Schema([_spec(outputs)])),
            # Programs take inputs by position: those by name in the order of the data set.
            input_example=tuple(parts) if isinstance(probe, TensorMap) else parts[0],
            # It consists of a graph and tensors: loading it runs none of our code.
            serialization_format="pt2",
            conda_env=_environment(),
            metadata=_history(network.dense, choice),
        )
        program = torch.export.load(path / "data" / "model.pt2").module()
    for inputs in (probe, probe[:1]):
        _compare(program, inputs, outputs_on(model, inputs), _TOLERANCE, "it")
    if network.outputs is not None:
        _compare(program, probe, network.outputs, _TOLERANCE_OF_DEVICES, "what it was in its trial")


def _compare(
    program: torch.nn.Module, inputs: Inputs, expected: torch.Tensor, tolerance: float, what: str
) -> None:
    with torch.no_grad():
        difference = relative_difference(program(*tensors_of(inputs)), expected)
    if not difference <= tolerance:
        raise BenchsuiteError(f"its program differs from {what} by {difference:.2g} of the largest output")


def _spec(values: np.ndarray[Any, Any], name: str | None = None) -> TensorSpec:
    """The tensor specification of such values for any number of samples."""
    return TensorSpec(values.dtype, (-1, *values.shape[1:]), name)


def _environment() -> dict[str, Any]:
    """What a program needs, from which MLflow writes `requirements.txt` too.

    Given as `pip_requirements` the same list makes MLflow read the files of every installed package, to warn
    of versions that differ from those of this process, which none can.
    """
    needed = [f"{name}=={_release(name)}" for name in ("mlflow", "numpy", "torch")]
    dependencies = [f"python={platform.python_version()}", "pip", {"pip": needed}]
    return {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": dependencies}


def _release(package: str) -> str:
    from importlib.metadata import version

    return version(package).partition("+")[0]


def _history(dense: DenseModel, choice: ChosenModel) -> dict[str, Any]:
    """What a user needs to know besides the program, for the file MLmodel."""
    entered = what_it_takes(dense)
    if "scale" in entered:
        image = dense.data.train.inputs.dtype == torch.uint8
        entered["scale"] = "pixels from 0 to 1, normalised" if image else "features, normalised"
    return {
        "axes": choice.record.axes,
        "input": entered,
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
