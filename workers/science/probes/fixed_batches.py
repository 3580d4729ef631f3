"""Which examples a probe sees: fixed batches, the same for all trials and steps."""

from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.probes import Probe
from workers.science.streams import generator


def probe_name(spec: Probe) -> str:
    """The probe's name: by default its kind."""
    return spec.name or spec.kind


def probe_batches(spec: Probe, num_examples: int, train_batch_size: int) -> list[NDArray[np.int64]]:
    """Indices into the training set, `spec.batch.count` arrays of `spec.batch.size` (null: the training batch size).

    Drawn without replacement from the stream of the probe's name: disjoint batches while the set lasts, then a fresh
    permutation. Raises ValueError where a batch would be larger than the training set.
    """
    size = train_batch_size if spec.batch.size is None else spec.batch.size
    if size > num_examples:
        raise ValueError(f"probes.{probe_name(spec)}.batch.size: got {size}, allowed at most {num_examples}")
    stream = generator(0, "probe_batch", probe_name(spec))
    batches: list[NDArray[np.int64]] = []
    remaining = np.empty(0, dtype=np.int64)
    for _ in range(spec.batch.count):
        if len(remaining) < size:
            remaining = torch.randperm(num_examples, generator=stream).numpy()
        batches.append(remaining[:size].copy())
        remaining = remaining[size:]
    return batches


def batch_id(batches: list[NDArray[np.int64]], dataset_sha256: str) -> str:
    """16 hex digits that name the set of batches: equal exactly where examples, order and data set are."""
    digest = sha256(dataset_sha256.encode())
    for indices in batches:
        digest.update(len(indices).to_bytes(8, "little"))
        digest.update(indices.astype("<i8").tobytes())
    return digest.hexdigest()[:16]
