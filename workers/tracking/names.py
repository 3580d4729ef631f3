"""The names and sizes that MLflow takes, and how ours are made to fit."""

import re
from hashlib import sha256

KEY_TAG = "warmup_bench.key"
"""A run is found again by this tag."""
STUDY_TAG = "warmup_bench.study_id"
COUNT_TAG = "warmup_bench.num_points"
"""Length of the stream, set when a run is created complete: with a final status it proves that all points are there."""
EXECUTION_TAG = "warmup_bench.execution_id"
"""What decided the bits of a run's points: those of a replanned trial are others, and never join the old ones."""
INFINITE_TAG = "warmup_bench.infinite."
"""+ metric: its infinite points were left out, because MLflow stores them as 1.8e308, which ruins every axis."""
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"

MAX_METRICS_PER_BATCH = 1_000
MAX_PARAMS_PER_BATCH = 100
MAX_TAGS_PER_BATCH = 100
MAX_ENTITIES_PER_BATCH = 1_000
MAX_BATCH_BYTES = 1_000_000
MAX_KEY_LENGTH = 250
MAX_PARAM_LENGTH = 6_000
MAX_TAG_LENGTH = 8_000
MAX_EXPERIMENT_TAG_LENGTH = 20_000

_FORBIDDEN = re.compile(r"[^/\w.\- ]")
_HASH_DIGITS = 8


def fit_key(key: str) -> str:
    """`key` where MLflow takes it; else with `_` for what it does not take, and a hash that keeps different keys apart.

    MLflow takes letters of any alphabet, digits and `/_.- `, as a relative path in normal form, up to 250 characters.

    >>> fit_key("sharpness.max"), fit_key("sharpness+x=1")
    ('sharpness.max', 'sharpness_x_1-9aca87c8')
    """
    parts = [part for part in _FORBIDDEN.sub("_", key).split("/") if part not in ("", ".", "..")]
    fitted = "/".join(parts)
    if fitted == key and 0 < len(key) <= MAX_KEY_LENGTH:
        return key
    digest = sha256(key.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{fitted[: MAX_KEY_LENGTH - _HASH_DIGITS - 1]}-{digest}"


def fit_text(text: str, max_length: int) -> str:
    """`text` where it is short enough; else its beginning, and a last line that says what was cut off."""
    if len(text) <= max_length:
        return text
    notice = f"\n[cut: {len(text)} characters, sha256 {sha256(text.encode()).hexdigest()}]"
    return text[: max_length - len(notice)] + notice
