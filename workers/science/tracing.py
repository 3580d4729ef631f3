"""Records a batched function as plain tensor operations: functorch's dispatch is paid once, not at every step."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., tuple[Tensor, ...]]

CALLS_BEFORE_TRACING = 16
"""A trace costs what functorch adds to about so many calls: what is called less often is not worth one."""

SAME_TENSOR = frozenset({torch.ops.aten.detach.default, torch.ops.aten.alias.default})
SAME_SHAPE = frozenset(
    {torch.ops.aten.expand.default, torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default}
)


class Traced:
    """`function`, replayed from its trace for shapes that come back; called directly where it cannot be traced.

    The trace holds the very operations of the direct call, in its order, so both give the same bits (tested). Which
    of the two runs depends on how often a shape was seen, and so must not matter.
    """

    def __init__(self, function: Function, *, enabled: bool = True) -> None:
        self._function = function
        self._enabled = enabled
        self._seen: dict[tuple[object, ...], int] = {}
        self._traces: dict[tuple[object, ...], Function] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """What `function` gives."""
        key = tuple((argument.shape, argument.stride(), argument.dtype, argument.device) for argument in arguments)
        trace = self._traces.get(key)
        if trace is not None:
            return trace(*arguments)
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._enabled and self._seen[key] > CALLS_BEFORE_TRACING:
            self._traces[key] = _trace(self._function, arguments)
        return self._function(*arguments)


def _trace(function: Function, arguments: tuple[Tensor, ...]) -> Function:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations inside the tracer
            graph_module = make_fx(function, tracing_mode="real")(*arguments)
    except Exception:  # whatever the tracer cannot take runs as it is: slower, same bits
        return function
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    graph_module.recompile()
    forward: Function = graph_module.forward
    return forward


def _does_nothing(node: Node) -> bool:
    """Whether a view is of what it is taken from: functorch makes many of these, and each costs a microsecond."""
    if node.target in SAME_TENSOR:
        return True
    if node.target not in SAME_SHAPE:
        return False
    before, after = node.args[0].meta.get("tensor_meta"), node.meta.get("tensor_meta")  # type: ignore[union-attr]
    return before is not None and after is not None and (before.shape, before.stride) == (after.shape, after.stride)
