"""One trainer for dense training and recovery, over data that live on the device."""

from __future__ import annotations

from benchsuite.training.data import DeviceDataset, DeviceSplit, on_device
from benchsuite.training.schedule import learning_rates
from benchsuite.training.trace import TraceRequest, TrainingTrace
from benchsuite.training.trainer import TrainingLog, total_steps, train

__all__ = [
    "DeviceDataset",
    "DeviceSplit",
    "TraceRequest",
    "TrainingLog",
    "TrainingTrace",
    "learning_rates",
    "on_device",
    "total_steps",
    "train",
]
