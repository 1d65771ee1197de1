"""A finished trial's network as files that need no benchsuite: a program, its weights, its history."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from benchsuite._version import __version__
from benchsuite.contracts.inputs import TensorMap
from benchsuite.contracts.named_inputs import NamedInputs
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.pruning.kept_units import kept_units
from benchsuite.pruning.transposed import with_layers_of_torch
from benchsuite.store import metric_names, stages
from benchsuite.store.files import write_atomically
from benchsuite.trials.pruned_model import PrunedModel, load_pruned, outputs_on, relative_difference

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from benchsuite.contracts.inputs import Inputs
    from benchsuite.plan.trial import Trial
    from benchsuite.store.record import TrialRecord
    from benchsuite.trials.dense_model import DenseModel
    from benchsuite.trials.worker_context import WorkerContext

_TOLERANCE = 1e-5
"""Largest difference of outputs accepted between the program and the network, relative to the largest."""

_AXES = ("model", "dataset", "scorer", "sparsity")
_METRICS = (
    metric_names.PARAMS,
    metric_names.PARAMS_DENSE,
    metric_names.MACS,
    metric_names.MACS_DENSE,
    metric_names.TOP1,
)
"""What the page beside the network says of it."""

_README = """\
# {title}

Made by benchsuite {version} from trial {key}: {params:,.0f} parameters and {macs:,.0f} MACs in place of
{params_dense:,.0f} and {macs_dense:,.0f}; {top1:.2%} of the test split right.

```python
import torch
model = torch.export.load("model.pt2").module()
logits = model({call})
```

{inputs}
`logits` has one column for each of the {classes} classes, whose names `pruning.json` lists in order.

| file | what it is |
| --- | --- |
| `model.pt2` | the network as a program of torch.export, in evaluation mode; written with torch {torch} |
| `model.safetensors` | its parameters and buffers, named as in the form that was pruned |
| `pruning.json` | what was removed and how, inputs' shape and normalisation, class names, metrics, versions |
"""


def export_trial(worker: WorkerContext, trial: Trial, record: TrialRecord, folder: Path) -> float:
    """Write a finished trial's network, and return how far the program is from it at most.

    Args:
        worker: where to work; on the CPU.
        trial: a trial that is done.
        record: its record.
        folder: gets `model.pt2`, `model.safetensors`, `pruning.json` and `README.md`.

    Raises:
        BenchsuiteError: the network cannot be made anew, or torch.export cannot take it; in the latter case
            weights and history are written all the same.
    """
    _check_record(record)
    pruned = load_pruned(worker, trial)
    program, readme = folder / "model.pt2", folder / "README.md"
    for file in (program, readme):
        file.unlink(missing_ok=True)
    history = _history(pruned, record)
    model = with_layers_of_torch(pruned.model)
    stages.save_tensors(folder / "model.safetensors", model.state_dict())
    write_atomically(folder / "pruning.json", json.dumps(history, indent=1, ensure_ascii=False) + "\n")
    try:
        content, difference = exported_program(model, pruned.dense)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        raise BenchsuiteError(
            f"torch.export cannot take this network ({type(error).__name__}: {reason}); "
            f"model.safetensors and pruning.json are in {folder}, model.pt2 is not"
        ) from error
    write_atomically(program, content)
    write_atomically(readme, _readme(record, history))
    return difference


def _check_record(record: TrialRecord) -> None:
    """Raise `UsageError` for a record that lacks what the files say of the network: an edited one."""
    missing = [f"the axis {name!r}" for name in _AXES if name not in record.axes]
    missing += [f"the metric {name!r}" for name in _METRICS if name not in record.metrics]
    if missing:
        raise UsageError(f"the record of {record.key} is not complete: it has not {', '.join(missing)}")


def exported_program(model: nn.Module, dense: DenseModel) -> tuple[bytes, float]:
    """A program for any number of samples, and its largest difference from the network on some of them.

    Raises:
        BenchsuiteError: the program, read back, computes something else than the network.
        Exception: whatever torch.export raises for a network that it cannot take.
    """
    exported = _exported(model, dense.probe[:2])
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    content = buffer.getvalue()
    program = torch.export.load(io.BytesIO(content)).module()
    largest = 0.0
    for inputs in (dense.probe, dense.probe[:1]):
        with torch.no_grad():
            outputs = program(**inputs.parts) if isinstance(inputs, TensorMap) else program(inputs)
        expected = outputs_on(model, inputs)
        relative = relative_difference(outputs, expected)
        if not relative <= _TOLERANCE:
            raise BenchsuiteError(f"its program differs from it by {relative:.2g} of the largest output")
        largest = max(largest, float((outputs - expected).abs().max()))
    return content, largest


def _exported(model: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    """The program; inputs by name are its keyword arguments."""
    each = {0: torch.export.Dim("samples")}
    if isinstance(inputs, TensorMap):
        shapes = dict.fromkeys(inputs.parts, each)
        return torch.export.export(model, (), kwargs=inputs.parts, dynamic_shapes=shapes)
    return torch.export.export(model, (inputs,), dynamic_shapes=(each,))


def _history(pruned: PrunedModel, record: TrialRecord) -> dict[str, Any]:
    dense = pruned.dense
    return {
        "key": record.key,
        "axes": record.axes,
        "settings": record.settings,
        "removed": {name: list(positions) for name, positions in pruned.removed.items()},
        "kept_units": kept_units(dense.graph, pruned.removed),
        "input": what_it_takes(dense),
        "classes": list(dense.data.classes),
        "metrics": record.metrics,
        "provenance": {**record.provenance, "exported_by": __version__, "exported_torch": torch.__version__},
    }


def what_it_takes(dense: DenseModel) -> dict[str, Any]:
    """What the network takes, as plain data: shape and normalisation, or the tensors by name."""
    shape = dense.data.input_shape
    if isinstance(shape, NamedInputs):
        kinds = {n: str(kind).removeprefix("torch.") for n, kind in shape.types.items()}
        return {
            "tensors": {n: {"shape": list(size), "type": kinds[n]} for n, size in shape.shapes.items()},
            "tokens": None if shape.tokens is None else asdict(shape.tokens),
        }
    image = dense.data.train.inputs.dtype == torch.uint8
    return {
        "shape": list(shape),
        "scale": "pixels from 0 to 1" if image else "features as they are",
        "mean": list(dense.mean),
        "std": list(dense.std),
    }


def _of_inputs(entered: dict[str, Any]) -> tuple[str, str]:
    """How the page calls the network, and what it says of the inputs."""
    if "tensors" in entered:
        kinds = [
            f"`{name}` is {kind['type']} of shape ({', '.join(['samples', *map(str, kind['shape'])])})"
            for name, kind in entered["tensors"].items()
        ]
        call = ", ".join(f"{name}={name}" for name in entered["tensors"])
        return call, f"Any number of samples, on the CPU: {'; '.join(kinds)}."
    many = len(entered["mean"]) > 4
    mean, std = ("`mean`", "`std`") if many else (_listed(entered["mean"]), _listed(entered["std"]))
    where = " (in `pruning.json`)" if many else ""
    shape = ", ".join(["samples", *map(str, entered["shape"])])
    return "inputs", (
        f"`inputs` is a float32 tensor of shape ({shape}) on the CPU with any number of samples, normalised "
        f"as in\ntraining: {entered['scale']}, less {mean}, divided by {std}{where}."
    )


def _readme(record: TrialRecord, history: dict[str, Any]) -> str:
    axes, metrics = record.axes, record.metrics
    call, inputs = _of_inputs(history["input"])
    return _README.format(
        title="{model} on {dataset}, pruned by {scorer} at sparsity {sparsity}".format_map(axes),
        version=__version__,
        key=record.key,
        params=metrics[metric_names.PARAMS],
        params_dense=metrics[metric_names.PARAMS_DENSE],
        macs=metrics[metric_names.MACS],
        macs_dense=metrics[metric_names.MACS_DENSE],
        top1=metrics[metric_names.TOP1],
        call=call,
        inputs=inputs,
        classes=len(history["classes"]),
        torch=torch.__version__,
    )


def _listed(values: list[float]) -> str:
    """Numbers as a person writes them, one for each channel."""
    return ", ".join(f"{value:.6g}" if math.isfinite(value) else str(value) for value in values)
