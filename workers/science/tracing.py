"""Records a batched function as plain tensor operations: functorch's dispatch is paid once, not at every step."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functionalize
from torch.fx import Graph, GraphModule, Node
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
        self._halves: dict[tuple[object, ...], Halves | None] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """What `function` gives."""
        key = _key(arguments)
        trace = self._traces.get(key)
        if trace is not None:
            return trace(*arguments)
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._enabled and self._seen[key] > CALLS_BEFORE_TRACING:
            self._traces[key] = _trace(self._function, arguments)
        return self._function(*arguments)

    def at(self, *fixed: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """The function of its last argument: once there is a trace, what `fixed` alone decides is computed once.

        The values of `fixed` must not change while the answer is in use. The same bits as the whole function: it is
        the same operations. What is kept in between is some of the function's intermediate values.
        """
        kept: dict[Halves, tuple[Tensor, ...]] = {}

        def of_last(last: Tensor) -> tuple[Tensor, ...]:
            halves = self._halves_of((*fixed, last))
            if halves is None:
                return self(*fixed, last)
            if halves not in kept:  # each layout of the last argument has a trace of its own, which keeps other values
                kept[halves] = halves.of_fixed(*fixed)
            return halves.of_last(*kept[halves], last)

        return of_last

    def _halves_of(self, arguments: tuple[Tensor, ...]) -> "Halves | None":
        key = _key(arguments)
        if key not in self._halves and key in self._traces:
            self._halves[key] = _halve(self._traces[key], arguments) if self._traces[key] != self._function else None
        return self._halves.get(key)


@dataclass(frozen=True)
class Halves:
    """A trace in two: `of_fixed(*all but the last argument) -> kept`, and `of_last(*kept, last argument)`."""

    of_fixed: Function
    of_last: Function


def _key(arguments: tuple[Tensor, ...]) -> tuple[object, ...]:
    return tuple((argument.shape, argument.stride(), argument.dtype, argument.device) for argument in arguments)


def _trace(function: Function, arguments: tuple[Tensor, ...]) -> Function:
    try:
        return _recorded(function, arguments).forward
    except Exception:  # whatever the tracer cannot take runs as it is: slower, same bits
        return function


def _recorded(function: Function, arguments: tuple[Tensor, ...]) -> GraphModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations inside the tracer
        graph_module = make_fx(function, tracing_mode="real")(*arguments)
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module


def _halve(function: Function, arguments: tuple[Tensor, ...]) -> Halves | None:
    """Nothing where an operation writes into its arguments: it might write into what is kept."""
    # As operations that only read: torch's own rules write a mean into its sum, and the like.
    pure = functionalize(function)
    try:
        trace = _recorded(lambda *given: pure(*given), arguments)
    except Exception:  # as above
        return None
    nodes = list(trace.graph.nodes)
    if any(getattr(getattr(node.target, "_schema", None), "is_mutable", False) for node in nodes):
        return None
    *_, last = (node for node in nodes if node.op == "placeholder")
    depends = {last}
    for node in nodes:
        if not depends.isdisjoint(node.all_input_nodes):
            depends.add(node)
    kept = [node for node in nodes if node not in depends and not depends.isdisjoint(node.users)]
    first, second = Graph(), Graph()
    of_first: dict[Node, Node] = {}
    of_second = {node: second.placeholder(f"kept_{number}") for number, node in enumerate(kept)}
    for node in nodes:
        if node not in depends and node.op != "output":
            of_first[node] = first.node_copy(node, of_first.__getitem__)
        elif node in depends:
            of_second[node] = second.node_copy(node, of_second.__getitem__)
    if not any(node.op == "output" for node in depends):
        return None  # the last argument decides nothing
    first.output(tuple(of_first[node] for node in kept))
    first.eliminate_dead_code()
    return Halves(GraphModule(trace, first).forward, GraphModule(trace, second).forward)


def _does_nothing(node: Node) -> bool:
    """Whether a view is of what it is taken from: functorch makes many of these, and each costs a microsecond."""
    if node.target in SAME_TENSOR:
        return True
    if node.target not in SAME_SHAPE:
        return False
    before, after = node.args[0].meta.get("tensor_meta"), node.meta.get("tensor_meta")  # type: ignore[union-attr]
    return before is not None and after is not None and (before.shape, before.stride) == (after.shape, after.stride)
