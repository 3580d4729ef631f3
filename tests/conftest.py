"""Where the tests' files lie: in memory where there is room, as most of what is written here is written durably."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4_000_000_000


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # The processes of xdist have their folder from the one that starts them.
    if config.option.basetemp is None and not hasattr(config, "workerinput") and _is_usable(MEMORY):
        config.option.basetemp = tempfile.mkdtemp(prefix="warmup-bench-tests-", dir=MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


def _is_usable(folder: Path) -> bool:
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    may_execute = not os.statvfs(folder).f_flag & os.ST_NOEXEC  # a test installs a command of somebody's
    return may_execute and shutil.disk_usage(folder).free >= ROOM_BYTES
