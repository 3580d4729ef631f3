"""Where our three packages were imported from: a folder of the user's may have the name of one of them."""

import importlib


def package_origins() -> dict[str, str]:
    """Package name -> its folder."""
    return {
        name: str(next(iter(importlib.import_module(name).__path__))) for name in ("schemas", "workers")
    }
