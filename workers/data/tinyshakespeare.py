"""Tiny Shakespeare: 40,000 lines of his plays, character by character, from the data directory."""

import hashlib
from pathlib import Path

import numpy as np

from schemas.errors import DataMissing
from workers.data.texts import TextArrays, frozen_text

FILE = "tinyshakespeare/input.txt"
FILE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
VOCABULARY = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Token i is character i of these 65: every one that the file has, in the order of their codes."""
REMEDY = (
    "`warmup-bench data fetch tinyshakespeare{0}` gets it, `warmup-bench data import tinyshakespeare FILE{0}` takes a"
    " copy that you have"
)


def load_tinyshakespeare(data_dir: Path | None) -> TextArrays:
    """1,003,854 tokens to train on, 55,770 and 55,770 to validate and to test.

    Raises:
        DataMissing: the file is not there, cannot be read, or is another one; the message says what to do.
    """
    path = data_dir / FILE if data_dir else Path(FILE)
    if data_dir is None or not path.is_file():
        raise DataMissing(
            f"tinyshakespeare: there is no {FILE} in {data_dir or 'the data directory'}: {REMEDY.format('')}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataMissing(f"tinyshakespeare: {path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != FILE_SHA256:
        said = f"is damaged or another text: sha256 got {found}, allowed {FILE_SHA256}"
        raise DataMissing(f"tinyshakespeare: {path} {said}; {REMEDY.format(' --replace')}")
    return frozen_text(_tokens(content), len(VOCABULARY), str(path))


def _tokens(content: bytes) -> np.ndarray:
    token_of_code = np.zeros(256, np.uint8)
    token_of_code[np.frombuffer(VOCABULARY.encode(), np.uint8)] = np.arange(len(VOCABULARY))
    return token_of_code[np.frombuffer(content, np.uint8)]
