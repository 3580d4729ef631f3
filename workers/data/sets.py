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
from workers.data.pydoc import load_pydoc
from workers.data.texts import TextArrays
from workers.data.tinyshakespeare import load_tinyshakespeare

if TYPE_CHECKING:  # pydantic takes longer to import than the digits take to load
    from schemas.workloads import Dataset, Text

Arrays = DatasetArrays | TextArrays

LOADERS: dict[str, Callable[[Path | None], Arrays]] = {
    "digits": load_digits,
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
            arrays = _loaded(kind, _absolute(data_dir))
        except DataMissing:
            continue
        found.append(arrays.facts(kind))
    return found


def facts_of(dataset: "Dataset | Text", data_dir: str | PathLike[str] | None) -> DatasetFacts:
    """What the catalog would say of a spec's set.

    Raises:
        DataMissing: the set is not here, or not as it should be; the message says what to do.
    """
    return load(dataset, data_dir).facts(dataset.kind)


def _absolute(data_dir: str | PathLike[str] | None) -> Path | None:
    return None if data_dir is None else Path(abspath(data_dir))


@lru_cache(maxsize=8)
def _loaded(kind: str, data_dir: Path | None) -> Arrays:
    return LOADERS[kind](data_dir)
