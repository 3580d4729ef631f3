"""The data directory: which sets it holds, their facts for the catalog, their arrays for the trainers. No torch."""

from workers.data.arrays import DatasetArrays
from workers.data.inventory import SetStatus, list_sets
from workers.data.sets import facts_of, load, scan

__all__ = ["DatasetArrays", "SetStatus", "facts_of", "list_sets", "load", "scan"]
