"""A user's own parts on this machine: found, told apart by their source, called. Imports nothing of theirs by itself.

Only trainers and the inspection call `load`; the command line and the API read what the inspection has found.
"""

from workers.plugins.calling import PluginFailed, calling, told
from workers.plugins.loading import (
    Loaded,
    Part,
    PluginMissing,
    SourceChanged,
    check_sources,
    find,
    installed,
    load,
    use_files,
)
from workers.plugins.signatures import parameters_of

__all__ = [
    "Loaded",
    "Part",
    "PluginFailed",
    "PluginMissing",
    "SourceChanged",
    "calling",
    "check_sources",
    "find",
    "installed",
    "load",
    "parameters_of",
    "told",
    "use_files",
]
