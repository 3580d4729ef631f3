"""How many cores this process may use."""

import os


def num_cores() -> int:
    """Cores of this process's affinity mask, where the system has one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
