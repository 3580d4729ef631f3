"""How numbers leave the analysis: strict JSON for programs, a few digits for people."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """`value` as JSON types alone: NaN and the infinities become "NaN", "Infinity", "-Infinity"."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _plain_float(float(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def _plain_float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def json_text(value: Any) -> str:
    """Strict JSON of `plain(value)`, keys in the order given: one text per value."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_for_html(value: Any) -> str:
    """The same, safe inside a script element whatever its strings hold: no `<`, `>`, `&` or line separator is left."""
    text = json_text(value)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def number(value: float, digits: int = 4) -> str:
    """`value` to a few significant digits: 0.1012, 949, 1.2e-07, NaN."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e7:
        text = f"{value:.0f}"
    return text


def padded(value: float, digits: int = 3) -> str:
    """`value` to exactly `digits` significant digits, for columns: 0.110, 0.0820."""
    text = number(value, digits)
    if not math.isfinite(value) or "e" in text or value == 0.0:
        return text
    return f"{value:#.{digits}g}".rstrip(".") if "e" not in f"{value:#.{digits}g}" else text


def signed(value: float, digits: int = 3) -> str:
    """`value` with its sign, to a few significant digits."""
    return number(value, digits) if value < 0 or math.isnan(value) else "+" + number(value, digits)


def alike(mean: float, low: float, high: float) -> tuple[str, str, str]:
    """A mean and its interval with signs, all to the third significant digit of the interval's half width."""
    half = (high - low) / 2
    if not (math.isfinite(half) and half > 0) or abs(mean) > 1e6 * half or not 1e-6 < half < 1e6:
        return signed(mean), signed(low), signed(high)
    decimals = max(0, 2 - math.floor(math.log10(half)))
    return f"{mean:+.{decimals}f}", f"{low:+.{decimals}f}", f"{high:+.{decimals}f}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else ""


def plural(count: int, noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
