from ._version import __version__ as __version__
from .contracts.concepts import (
    Concept as Concept,
)
from .contracts.concepts import (
    ConceptPlugin as ConceptPlugin,
)
from .contracts.concepts import (
    ConceptSample as ConceptSample,
)
from .contracts.concepts import (
    ConceptSet as ConceptSet,
)
from .contracts.dataset import (
    Augmentation as Augmentation,
)
from .contracts.dataset import (
    Dataset as Dataset,
)
from .contracts.dataset import (
    DatasetPlugin as DatasetPlugin,
)
from .contracts.dataset import (
    Split as Split,
)
from .contracts.fingerprint import (
    file_fingerprint as file_fingerprint,
)
from .contracts.fingerprint import (
    files_fingerprint as files_fingerprint,
)
from .contracts.inputs import (
    TensorMap as TensorMap,
)
from .contracts.inputs import (
    joined as joined,
)
from .contracts.layers import (
    CoupledGroup as CoupledGroup,
)
from .contracts.layers import (
    GroupMember as GroupMember,
)
from .contracts.layers import (
    GroupReader as GroupReader,
)
from .contracts.layers import (
    Layer as Layer,
)
from .contracts.model import (
    ModelFamily as ModelFamily,
)
from .contracts.model import (
    ModelPlugin as ModelPlugin,
)
from .contracts.named_inputs import (
    NamedInputs as NamedInputs,
)
from .contracts.named_inputs import (
    Tokens as Tokens,
)
from .contracts.other_parameters import (
    functional_call as functional_call,
)
from .contracts.plugin import (
    Plugin as Plugin,
)
from .contracts.recipe import (
    TrainingRecipe as TrainingRecipe,
)
from .errors import (
    BenchsuiteError as BenchsuiteError,
)
from .errors import (
    DataError as DataError,
)
from .errors import (
    PluginError as PluginError,
)
from .errors import (
    Unsupported as Unsupported,
)
from .metrics.metric import (
    Metric as Metric,
)
from .metrics.metric import (
    Quantity as Quantity,
)
from .metrics.metric_context import (
    MetricContext as MetricContext,
)
from .registry.hookspecs import (
    RegisterDataset as RegisterDataset,
)
from .registry.hookspecs import (
    RegisterMetric as RegisterMetric,
)
from .registry.hookspecs import (
    RegisterModel as RegisterModel,
)
from .registry.hookspecs import (
    RegisterScorer as RegisterScorer,
)
from .registry.hookspecs import (
    hookimpl as hookimpl,
)
from .scoring.calls import (
    call_input as call_input,
)
from .scoring.calls import (
    with_call_input as with_call_input,
)
from .scoring.context import (
    ScoringContext as ScoringContext,
)
from .scoring.gradients import (
    GradientBatch as GradientBatch,
)
from .scoring.gradients import (
    GradientStatistic as GradientStatistic,
)
from .scoring.padding import (
    without_padding as without_padding,
)
from .scoring.reductions import (
    Reduction as Reduction,
)
from .scoring.scorer import (
    Scorer as Scorer,
)
from .store.record import (
    TrialRecord as TrialRecord,
)
from .training.trace import (
    TrainingTrace as TrainingTrace,
)
