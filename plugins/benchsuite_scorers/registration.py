"""The criteria shipped with benchsuite, one file each, all through the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite import hookimpl
from benchsuite_scorers.activation_std import ActivationStd
from benchsuite_scorers.apoz import Apoz
from benchsuite_scorers.bn_scale import BatchNormScale
from benchsuite_scorers.chip import Chip
from benchsuite_scorers.distinctiveness import Distinctiveness
from benchsuite_scorers.fisher import Fisher
from benchsuite_scorers.fpgm import Fpgm
from benchsuite_scorers.grasp import Grasp
from benchsuite_scorers.hrank import HRank
from benchsuite_scorers.importance_switch import ImportanceSwitch
from benchsuite_scorers.karnin import Karnin
from benchsuite_scorers.lamp import Lamp
from benchsuite_scorers.magnitude_l1 import MagnitudeL1
from benchsuite_scorers.magnitude_l2 import MagnitudeL2
from benchsuite_scorers.mean_activation import MeanActivation
from benchsuite_scorers.mean_threshold import MeanThreshold
from benchsuite_scorers.obd import Obd
from benchsuite_scorers.random import Random
from benchsuite_scorers.shapley import Shapley
from benchsuite_scorers.snip import Snip
from benchsuite_scorers.synflow import SynFlow
from benchsuite_scorers.taylor_activation import TaylorActivation
from benchsuite_scorers.taylor_weight import TaylorWeight
from benchsuite_scorers.thinet import ThiNet
from benchsuite_scorers.tree_gain import TreeGain
from benchsuite_scorers.wanda import Wanda
from benchsuite_scorers.weight_sum import WeightSum
from benchsuite_scorers.whc import Whc
from benchsuite_scorers.xgboost_gain import XgboostGain

if TYPE_CHECKING:
    from benchsuite import RegisterScorer

SCORERS = (
    ActivationStd,
    Apoz,
    BatchNormScale,
    Chip,
    Distinctiveness,
    Fisher,
    Fpgm,
    Grasp,
    HRank,
    ImportanceSwitch,
    Karnin,
    Lamp,
    MagnitudeL1,
    MagnitudeL2,
    MeanActivation,
    MeanThreshold,
    Obd,
    Random,
    Shapley,
    Snip,
    SynFlow,
    TaylorActivation,
    TaylorWeight,
    ThiNet,
    TreeGain,
    Wanda,
    WeightSum,
    Whc,
    XgboostGain,
)


@hookimpl
def benchsuite_register_scorers(register: RegisterScorer) -> None:
    """Register every criterion."""
    for scorer in SCORERS:
        register(scorer)
