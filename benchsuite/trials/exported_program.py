"""A program of `torch.export`, turned back into a network of layers that can be trained and cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from torch import fx, nn
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from collections.abc import Callable

_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}
_GEOMETRY = ("stride", "padding", "output_padding", "dilation")
_BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_STATE = ("weight", "bias", "running_mean", "running_var")


def is_exported(model: nn.Module) -> TypeGuard[fx.GraphModule]:
    """Whether a network is what `ExportedProgram.module` returns."""
    return isinstance(model, fx.GraphModule) and isinstance(model.graph._codegen, fx.graph._PyTreeCodeGen)


def as_layers(program: fx.GraphModule) -> nn.Module:
    """The network of an exported program, with modules where it calls convolutions, norms and the like.

    They have the names that their weights had, so the state dict keeps its names. A program is exported for
    evaluation or training; as a network it has both modes again. Other operations stay as they are.

    Args:
        program: as `ExportedProgram.module` returns it; left as it is, but for its tensors, which are shared.
    """
    root = nn.Module()
    graph = fx.Graph()
    made: dict[Any, str] = {}
    copies: dict[fx.Node, fx.Node] = {}

    def copied(value: Any) -> Any:
        return fx.map_arg(value, copies.__getitem__)

    for node in program.graph.nodes:
        if node.op == "call_module":  # the guards, which check the inputs' shapes
            continue
        if node.op == "output":
            outputs = pytree.tree_unflatten(list(node.args[0]), _codegen(program).pytree_info.out_spec)
            graph.output(copied(outputs))
            continue
        layer = _layer(program, node)
        if layer is None:
            copies[node] = graph.node_copy(node, copied)
            continue
        module, key = layer
        if key not in made:
            made[key] = _place(root, node, len(made))
            _set(root, made[key], module)
        copies[node] = graph.call_module(made[key], (copies[node.args[0]],))
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        if not node.users:  # it is a layer's own now
            graph.erase_node(node)
        elif not _has(root, node.target):
            _set(root, node.target, _tensor(program, node.target))
    return fx.GraphModule(root, graph)


def _codegen(program: fx.GraphModule) -> Any:
    return program.graph._codegen


def _layer(program: fx.GraphModule, node: fx.Node) -> tuple[nn.Module, Any] | None:
    """The module of an operation, and what it shares with other operations of the same one; None without."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or schema.name.partition("::")[0] != "aten":
        return None
    name = schema.name.partition("::")[2]
    given = {argument.name: argument.default_value for argument in schema.arguments}
    given |= dict(zip((argument.name for argument in schema.arguments), node.args, strict=False))
    given |= node.kwargs
    make = _MODULES.get(name)
    weight = given.get("weight")
    if make is None or any(_is_computed(given.get(part)) for part in _STATE):
        return None
    state = {
        part: _tensor(program, value.target)
        for part in _STATE
        if isinstance(value := given.get(part), fx.Node)
    }
    module = make(given, state)
    if module is None:
        return None
    for part, tensor in state.items():
        _set(module, part, tensor)
    options = {key: str(value) for key, value in given.items() if key not in ("input", *_STATE)}
    target = weight.target if isinstance(weight, fx.Node) else node.name
    return module, (name, target, tuple(options.items()))


def _is_computed(value: Any) -> bool:
    return isinstance(value, fx.Node) and value.op != "get_attr"


def _convolution(given: dict[str, Any], state: dict[str, Any]) -> nn.Module | None:
    weight = state.get("weight")
    if weight is None:
        return None
    kind: Callable[..., nn.Module] = _CONVOLUTIONS[weight.ndim]
    padding = given["padding"]
    count = weight.ndim - 2
    return kind(
        weight.shape[1] * given["groups"],
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=_each(given["stride"], count),
        padding=padding if isinstance(padding, str) else _each(padding, count),
        dilation=_each(given["dilation"], count),
        groups=given["groups"],
        bias="bias" in state,
    )


def _transposed_convolution(given: dict[str, Any], state: dict[str, Any]) -> nn.Module | None:
    weight = state.get("weight")
    if weight is None:
        return None
    kind: Callable[..., nn.Module] = _TRANSPOSED[weight.ndim]
    count = weight.ndim - 2
    numbers = {name: _each(given[name], count) for name in _GEOMETRY}
    units = weight.shape[1] * given["groups"]
    kernel = tuple(weight.shape[2:])
    return kind(weight.shape[0], units, kernel, groups=given["groups"], bias="bias" in state, **numbers)


def _each(value: Any, count: int) -> Any:
    """One number for each dimension."""
    numbers = [value] if isinstance(value, int) else list(value)
    return tuple(numbers * count if len(numbers) == 1 else numbers)


def _linear(_: dict[str, Any], state: dict[str, Any]) -> nn.Module | None:
    weight = state.get("weight")
    return None if weight is None else nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in state)


def _batch_norm(given: dict[str, Any], state: dict[str, Any]) -> nn.Module | None:
    value = given["input"].meta.get("val")
    channels = next((tensor.shape[0] for tensor in state.values()), None)
    if value is None or channels is None or ("weight" in state) != ("bias" in state):
        return None
    return _BATCH_NORMS[value.ndim](
        channels,
        eps=given["eps"],
        momentum=given["momentum"],
        affine="weight" in state,
        track_running_stats="running_mean" in state,
    )


def _layer_norm(given: dict[str, Any], state: dict[str, Any]) -> nn.Module | None:
    return nn.LayerNorm(
        list(given["normalized_shape"]),
        eps=given["eps"],
        elementwise_affine="weight" in state,
        bias="bias" in state,
    )


def _group_norm(given: dict[str, Any], state: dict[str, Any]) -> nn.Module | None:
    value = given["input"].meta.get("val")
    if value is None or ("weight" in state) != ("bias" in state):
        return None
    return nn.GroupNorm(given["num_groups"], value.shape[1], eps=given["eps"], affine="weight" in state)


def _prelu(_: dict[str, Any], state: dict[str, Any]) -> nn.Module | None:
    return None if "weight" not in state else nn.PReLU(state["weight"].numel())


def _dropout(given: dict[str, Any], _: dict[str, Any]) -> nn.Module | None:
    return nn.Dropout(given["p"])


_MODULES: dict[str, Callable[[dict[str, Any], dict[str, Any]], nn.Module | None]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "prelu": _prelu,
    "dropout": _dropout,
}


def _tensor(program: fx.GraphModule, target: Any) -> Any:
    """The parameter or buffer of this name."""
    path, _, name = str(target).rpartition(".")
    return getattr(program.get_submodule(path), name)


def _place(root: nn.Module, node: fx.Node, number: int) -> str:
    """The name of a layer: what its weight's name begins with, if no other layer has it."""
    for value in node.args[1:]:
        if isinstance(value, fx.Node) and value.op == "get_attr":
            path = str(value.target).rpartition(".")[0]
            if path and not _has(root, path):
                return path
            break
    return f"{node.name}_{number}"


def _has(root: nn.Module, target: Any) -> bool:
    path, _, name = str(target).rpartition(".")
    try:
        return hasattr(root.get_submodule(path), name)
    except AttributeError:
        return False


def _set(root: nn.Module, target: Any, value: Any) -> None:
    """Put a module, parameter or buffer at its dotted name."""
    path, _, name = str(target).rpartition(".")
    owner = root
    for part in filter(None, path.split(".")):
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    if isinstance(value, nn.Module):
        owner.add_module(name, value)
    elif isinstance(value, nn.Parameter):
        owner.register_parameter(name, value)
    elif name in owner._buffers:
        owner._buffers[name] = value
    else:
        owner.register_buffer(name, value)
