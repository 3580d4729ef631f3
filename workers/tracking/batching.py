"""Splits what goes to a run into calls that MLflow takes whole."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from workers.tracking import names
from workers.tracking.names import fit_key
from workers.tracking.port import Batch
from workers.tracking.publications import MetricPoint

Kind = Literal["params", "tags", "metrics"]

_LIMITS: dict[Kind, int] = {
    "params": names.MAX_PARAMS_PER_BATCH,
    "tags": names.MAX_TAGS_PER_BATCH,
    "metrics": names.MAX_METRICS_PER_BATCH,
}
# Field names and numbers of one entity in the request, rounded up; the last tenth of the limit is for the envelope.
_ENTITY_BYTES = 150
_BATCH_BYTES = names.MAX_BATCH_BYTES * 9 // 10


def batches(
    points: Sequence[MetricPoint], params: Sequence[tuple[str, str]] = (), tags: Sequence[tuple[str, str]] = ()
) -> Iterator[Batch]:
    """Batches of at most 1,000 points, 100 parameters, 100 tags, 1,000 of all and 1 MB of JSON; order is kept.

    Parameters go first, so that a run which is cut off after its first batch can already be compared by them.
    """
    batch, num_entities, num_bytes = Batch(), 0, 0
    for kind, entity, entity_bytes in _entities(points, params, tags):
        is_full = num_entities == names.MAX_ENTITIES_PER_BATCH or len(getattr(batch, kind)) == _LIMITS[kind]
        if is_full or num_bytes + entity_bytes > _BATCH_BYTES:
            yield batch
            batch, num_entities, num_bytes = Batch(), 0, 0
        getattr(batch, kind).append(entity)
        num_entities += 1
        num_bytes += entity_bytes
    if num_entities:
        yield batch


def _entities(
    points: Sequence[MetricPoint], params: Sequence[tuple[str, str]], tags: Sequence[tuple[str, str]]
) -> Iterable[tuple[Kind, object, int]]:
    for pair in params:
        yield "params", pair, _text_bytes(*pair)
    for pair in tags:
        yield "tags", pair, _text_bytes(*pair)
    fitted = {key: (fit_key(key), _text_bytes(key, "")) for key in {point.key for point in points}}
    for point in points:
        key, entity_bytes = fitted[point.key]
        yield "metrics", point if key == point.key else point._replace(key=key), entity_bytes


def _text_bytes(key: str, value: str) -> int:
    # As JSON with escapes, because that is what is sent: one character may take twelve bytes.
    return _ENTITY_BYTES + len(json.dumps(key)) + len(json.dumps(value))
