"""Which channels of a network are coupled, read from Torch-Pruning's dependency graph.

The library traces the network and knows which axes are coupled. Nothing else of it is used, and its
heuristics are checked numerically afterwards (see `proof`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch_pruning as tp
from torch import nn

from benchsuite.errors import Unsupported
from benchsuite.pruning.tracing.dependency_walk import Dependencies, Walk

if TYPE_CHECKING:
    from torch import Tensor


def find_dependencies(model: nn.Module, example: Tensor) -> Dependencies:
    """Trace the network, in evaluation mode and with gradients, and return its couplings.

    Raises:
        Unsupported: the network cannot be traced; the message says why.
    """
    graph = tp.DependencyGraph()
    graph.verbose = False
    graph.model = model
    graph.ignored_params = []
    graph._module2name = {module: name for name, module in model.named_modules()}
    # The library knows no root mean square normalisation. What it is told here of how to cut one is not used.
    for module in model.modules():
        if isinstance(module, nn.RMSNorm):
            graph.CUSTOMIZED_PRUNERS[type(module)] = tp.ops.CustomizedPruner()
    try:
        # The steps of the library's build_dependency, without its guesses of shapes.
        graph._param_to_name, graph.unwrapped_parameters = graph._detect_unwrapped_parameters(None)
        with torch.enable_grad():
            graph.module2node = graph._trace(model, example, lambda network, x: network(x), None)
        graph._build_dependency(graph.module2node)
    except Exception as error:
        # Any error inside the library means that it does not support the network.
        raise Unsupported(f"the dependency graph cannot be built: {type(error).__name__}: {error}") from error
    return Walk(graph, model).run()
