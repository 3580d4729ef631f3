"""Sets by kind: their arrays for a trainer, their facts for the catalog."""

from collections.abc import Callable
from functools import lru_cache
from os import PathLike
from os.path import abspath
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.catalog import DatasetFacts
from schemas.errors import DataMissing
from workers.data.arrays import DatasetArrays
from workers.data.digits import load_digits
from workers.data.photographs import load_cifar10, load_fashion_mnist
from workers.data.pydoc import load_pydoc
from workers.data.texts import TextArrays
from workers.data.tinyshakespeare import load_tinyshakespeare

if TYPE_CHECKING:  # pydantic takes longer to import than the digits take to load
    from schemas.workloads import Dataset, Text

Arrays = DatasetArrays | TextArrays

LOADERS: dict[str, Callable[[Path | None], Arrays]] = {
    "cifar10": load_cifar10,
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "pydoc": load_pydoc,
    "tinyshakespeare": load_tinyshakespeare,
}
"""Kind -> loader, for every set that a workload can name."""


def load(dataset: "Dataset | Text", data_dir: str | PathLike[str] | None) -> Arrays:
    """The arrays of a spec's set, read once per process: the whole set, before `subset`, noise and augmentation.

    Raises:
        DataMissing: the set is not here; the message says what to do. As `workers.data.own.load_own`.
    """
    if dataset.kind == "plugin":
        from workers.data.own import load_own  # pydantic and the user's own modules: only where there is one

        return load_own(dataset)
    if dataset.kind not in LOADERS:
        raise DataMissing(f"dataset.kind: got {dataset.kind}, allowed {', '.join(LOADERS)}")
    return _loaded(dataset.kind, _absolute(data_dir))


def scan(data_dir: str | PathLike[str] | None) -> list[DatasetFacts]:
    """Facts of every set that is here and that a workload can name, by kind. Sets that are missing are left out."""
    found = []
    for kind in sorted(LOADERS):
        try:
            found.append(_facts(kind, _absolute(data_dir)))
        except DataMissing:
            continue
    return found


def facts_of(dataset: "Dataset | Text", data_dir: str | PathLike[str] | None) -> DatasetFacts:
    """What the catalog would say of a spec's set.

    Raises:
        DataMissing: the set is not here, or not as it should be; the message says what to do.
    """
    return _facts(dataset.kind, _absolute(data_dir))


def _absolute(data_dir: str | PathLike[str] | None) -> Path | None:
    return None if data_dir is None else Path(abspath(data_dir))


@lru_cache(maxsize=8)
def _loaded(kind: str, data_dir: Path | None) -> Arrays:
    return LOADERS[kind](data_dir)


def _facts(kind: str, data_dir: Path | None) -> DatasetFacts:
    folder = None if data_dir is None else data_dir / kind
    files = sorted(folder.iterdir()) if folder and folder.is_dir() else []
    stamps = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file())
    return _known_facts(kind, data_dir, stamps)


@lru_cache(maxsize=64)
def _known_facts(kind: str, data_dir: Path | None, _stamps: tuple[tuple[str, int, int], ...]) -> DatasetFacts:
    """Of the files as they are; the arrays are let go, because who asks for facts trains nothing."""
    return LOADERS[kind](data_dir).facts(kind)
