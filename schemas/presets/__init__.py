"""Studies that ship with the program, as YAML documents beside this file."""

from importlib import resources


def preset_names() -> tuple[str, ...]:
    """Every preset's name, sorted."""
    return tuple(sorted(item.name[:-5] for item in resources.files(__name__).iterdir() if item.name.endswith(".yaml")))


def preset_text(name: str) -> str:
    """A preset's YAML text.

    Raises:
        KeyError: no preset of that name.
    """
    if name not in preset_names():
        raise KeyError(name)
    return (resources.files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")
