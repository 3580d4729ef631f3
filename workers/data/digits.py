"""The 8x8 digits: 1,797 images of 64 pixels in 0 ... 16, from scikit-learn's package or from `digits.npz`."""

import gzip
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from schemas.errors import DataMissing
from workers.data.arrays import DatasetArrays, fixed_permutation, frozen_arrays

NUM_IMAGES = 1797
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 1149, 288, 360
SHA256 = "94aa1c5e747b915130b6f10888121738a53f0b872f3e9b6d65fb978ed411f9ca"
"""Of the split arrays. Every source gives these bytes, so trial ids do not depend on where the digits came from."""
_SPLIT_SEED = 20_250_101


def load_digits(data_dir: Path | None) -> DatasetArrays:
    """Inputs float32 [n, 64] in 0 ... 1 (pixels / 16), split once by a fixed permutation.

    Raises:
        DataMissing: there is no source, or a source holds something else; the message says what to do.
    """
    pixels, labels, source = _read(data_dir)
    order = fixed_permutation(NUM_IMAGES, _SPLIT_SEED)
    parts = np.split(order, [NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION])
    x, y = pixels.astype(np.float32) / np.float32(16), labels.astype(np.int64)
    splits = {name: (x[rows], y[rows]) for name, rows in zip(("train", "validation", "test"), parts, strict=True)}
    arrays = frozen_arrays(splits, 10, source)
    if arrays.sha256 != SHA256:
        raise DataMissing(f"digits: {source} does not hold the digits: sha256 got {arrays.sha256}, allowed {SHA256}")
    return arrays


def packaged_csv() -> Path | None:
    """The file that scikit-learn ships, found without importing it (which would take a second)."""
    spec = find_spec("sklearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    return None


def own_npz(data_dir: Path | None) -> Path | None:
    """`digits.npz` in the data directory, where there is one."""
    path = data_dir / "digits.npz" if data_dir else None
    return path if path and path.is_file() else None


def _read(data_dir: Path | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Pixels [1797, 64], labels [1797], and where they came from."""
    if csv := packaged_csv():
        return *_from_csv(csv), "scikit-learn's package"
    if npz := own_npz(data_dir):
        return *_from_npz(npz), str(npz)
    where = data_dir or "the data directory"
    raise DataMissing(
        "digits: scikit-learn is not installed here (python -m pip install scikit-learn), and there is no digits.npz in"
        f" {where} (arrays images [1797, 64] in 0 ... 16 and labels [1797], as sklearn.datasets.load_digits gives them)"
    )


def _from_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        lines = gzip.decompress(path.read_bytes()).split()
        rows = np.array([line.split(b",") for line in lines]).astype(np.int64)
        return _checked(rows[:, :-1], rows[:, -1])
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise _unreadable(path, error) from error


def _from_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return _checked(file["images"].reshape(len(file["images"]), -1), file["labels"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _checked(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if pixels.shape != (NUM_IMAGES, 64) or labels.shape != (NUM_IMAGES,):
        raise ValueError(f"got images {pixels.shape} and labels {labels.shape}, allowed (1797, 64) and (1797,)")
    return pixels, labels


def _unreadable(path: Path, error: Exception) -> DataMissing:
    return DataMissing(f"digits: {path} cannot be read: {error}")
