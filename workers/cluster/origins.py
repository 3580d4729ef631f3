"""Where our three packages are imported from: a folder of the user's may have the name of one of them."""

from importlib.util import find_spec

PACKAGES = ("schemas", "workers", "service")


def package_origins() -> dict[str, str]:
    """Package name -> the folder that an import of it takes; `service` is found but not imported."""
    return {name: _folder(name) for name in PACKAGES}


def _folder(name: str) -> str:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        return ""
    return str(next(iter(found.submodule_search_locations)))
