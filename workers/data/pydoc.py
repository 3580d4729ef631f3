"""The help texts that Python's own `help()` shows: prose about a language, there wherever Python is."""

import importlib
import platform
from pathlib import Path

import numpy as np

from schemas.errors import DataMissing
from workers.data.texts import TextArrays, frozen_text

VOCABULARY = "\n" + "".join(map(chr, range(32, 127)))
"""Token i is character i of these 96; token 96 stands for any other."""
OTHER = len(VOCABULARY)


def load_pydoc(_data_dir: Path | None) -> TextArrays:
    """About 470,000 tokens: the topics of `pydoc_data.topics` in the order of their names, an empty line between two.

    Each Python version has texts of its own: the sha256 tells which, and is part of a trial's identity.

    Raises:
        DataMissing: this Python came without them; the message says what to do.
    """
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError) as error:
        raise DataMissing(
            f"pydoc: {platform.python_implementation()} {platform.python_version()} came without pydoc_data.topics; the"
            " Pythons of python.org and of most distributions have it"
        ) from error
    text = "\n\n".join(topics[name] for name in sorted(topics))
    return frozen_text(_tokens(text), OTHER + 1, f"pydoc_data of Python {platform.python_version()}")


def _tokens(text: str) -> np.ndarray:
    token_of_code = np.full(128, OTHER, np.uint8)
    token_of_code[[ord(character) for character in VOCABULARY]] = np.arange(OTHER)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return np.where(codes < 128, token_of_code[np.minimum(codes, 127)], OTHER).astype(np.uint8)
