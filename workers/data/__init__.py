"""The data directory: which sets it holds, their facts for the catalog, their arrays for the trainers. No torch."""

from workers.data.arrays import DatasetArrays
from workers.data.inventory import SetStatus, check_known, list_sets
from workers.data.language import examples_of
from workers.data.sets import facts_of, load, scan
from workers.data.texts import TextArrays, windows

__all__ = [
    "DatasetArrays",
    "SetStatus",
    "TextArrays",
    "check_known",
    "examples_of",
    "facts_of",
    "list_sets",
    "load",
    "scan",
    "windows",
]
