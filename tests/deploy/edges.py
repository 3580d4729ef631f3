"""Who may reach whom on which port, by the NetworkPolicies: an edge is open where both of its ends say so."""

from collections.abc import Iterator

from tests.deploy.kubernetes_policies import matches
from tests.deploy.reading import Json, pods

Edge = tuple[str, str, int | str]
WORLD, OPERATOR, DNS, ANY_PORT = "world", "kuberay-operator", "dns", "any"


def components(objects: list[Json]) -> set[str]:
    """The components that start pods."""
    return {component for _, component, _ in pods(objects)}


def open_edges(objects: list[Json]) -> set[Edge]:
    """(from, to, port) that both ends allow; to or from outside, the end inside."""
    inside = components(objects)
    into, out = set(_half(objects, inside, "ingress")), set(_half(objects, inside, "egress"))
    both = {edge for edge in into if edge[0] in inside and _allowed(edge, out)}
    both |= {edge for edge in out if edge[1] in inside and _allowed(edge, into)}
    return both | {edge for edge in into if edge[0] not in inside} | {edge for edge in out if edge[1] not in inside}


def half_edges(objects: list[Json]) -> set[Edge]:
    """Edges inside that one end allows and the other does not: they are closed, and somebody thinks they are open."""
    inside = components(objects)
    ends = set(_half(objects, inside, "ingress")) | set(_half(objects, inside, "egress"))
    return {edge for edge in ends if edge[0] in inside and edge[1] in inside} - open_edges(objects)


def unguarded(objects: list[Json]) -> set[str]:
    """Components that a policy does not close both ways by default."""
    closed = [
        thing["spec"]["podSelector"]
        for thing in objects
        if thing["kind"] == "NetworkPolicy"
        and set(thing["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not thing["spec"].get("ingress")
        and not thing["spec"].get("egress")
    ]
    return {
        component
        for _, component, template in pods(objects)
        if not any(matches(selector, template["metadata"]["labels"]) for selector in closed)
    }


def _allowed(edge: Edge, others: set[Edge]) -> bool:
    return edge in others or (edge[0], edge[1], ANY_PORT) in others


def _half(objects: list[Json], inside: set[str], direction: str) -> Iterator[Edge]:
    far_word = {"ingress": "from", "egress": "to"}[direction]
    for policy in (thing["spec"] for thing in objects if thing["kind"] == "NetworkPolicy"):
        near = _chosen(policy["podSelector"], inside)
        for rule in policy.get(direction, []):
            peers = rule.get(far_word)
            far = {WORLD} if peers is None else {name for peer in peers for name in _peer(peer, inside)}
            ports = [port["port"] for port in rule.get("ports", [])] or [ANY_PORT]
            for one in near:
                for other in far:
                    for port in ports:
                        yield (other, one, port) if direction == "ingress" else (one, other, port)


def _peer(peer: Json, inside: set[str]) -> set[str]:
    if "ipBlock" in peer:
        return {WORLD}
    if "namespaceSelector" not in peer:
        return _chosen(peer["podSelector"], inside)
    labels = peer["podSelector"]["matchLabels"]
    return {DNS if labels.get("k8s-app") == "kube-dns" else labels["app.kubernetes.io/name"]}


def _chosen(selector: Json, inside: set[str]) -> set[str]:
    return {name for name in inside if matches(selector, {"app.kubernetes.io/component": name})}
