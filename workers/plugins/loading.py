"""Finds parts by name, in installed distributions and in files that were named, and imports them when they are called.

A file says what it has in `PLUGINS = {"models": {"my_net": my_net}}`. Importing is left to `load`: finding reads the
metadata of what is installed, and of a file nothing.
"""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from schemas.errors import WarmupBenchError
from schemas.plugins import CALLED, GROUPS, Group, PluginSource, is_part_name
from workers.plugins.calling import PluginFailed, calling
from workers.plugins.sources import file_sha256, tree_sha256

ENTRY_POINTS = "warmup_bench."
"""The group of an entry point is this and the group of the part."""
OURS = ("schemas", "workers", "service")


class PluginMissing(WarmupBenchError):
    """No part of that name, or several; the message says which there are."""

    code = "plugin_missing"


class SourceChanged(WarmupBenchError):
    """A part whose source is not the one that the study was accepted with."""

    code = "plugin_changed"


@dataclass(frozen=True)
class Part:
    """One part on this machine, not imported yet."""

    group: Group
    name: str
    origin: str
    """Where it comes from, for people: `acme-models 1.2`, or the file."""
    _load: Callable[[], tuple[Any, PluginSource, Path]] = field(repr=False)

    def load(self) -> "Loaded":
        """Import it.

        Raises:
            PluginFailed: it cannot be imported, or is nothing that can be called.
        """
        with calling(self.group, self.name):
            value, source, root = self._load()
        if not callable(value):
            raise PluginFailed(f"{CALLED[self.group]} {self.name}: got {type(value).__name__}, allowed a callable")
        return Loaded(value, source, root)


@dataclass(frozen=True)
class Loaded:
    """A part that was imported, and stays as it was then in this process."""

    call: Callable[..., Any]
    source: PluginSource
    root: Path
    """The file or the package that `source.sha256` is of."""


@dataclass
class _Registry:
    """Of this process: the files that were named, and what was imported, which stays as it was."""

    files: list[Path] = field(default_factory=list)
    modules: dict[Path, tuple[ModuleType, str]] = field(default_factory=dict)
    parts: dict[tuple[str, str], Loaded] = field(default_factory=dict)


_here = _Registry()


def use_files(paths: Iterable[str | Path]) -> None:
    """Name the files whose parts may be used in this process, instead of those before."""
    _here.files = list(dict.fromkeys(Path(path) for path in paths))
    _here.modules.clear()
    _here.parts.clear()


def installed(group: Group) -> list[Part]:
    """The parts of the installed distributions, by name. Imports none of them."""
    found: dict[str, list[Part]] = {}
    for distribution in distributions():
        # Of a distribution that is there twice, an import takes the first.
        if (name := _name_of(distribution)) not in found:
            entries = (entry for entry in distribution.entry_points if entry.group == ENTRY_POINTS + group)
            found[name] = [_of_entry_point(group, entry, distribution) for entry in entries]
    return sorted((part for parts in found.values() for part in parts), key=lambda part: (part.name, part.origin))


def find(group: Group, name: str) -> Part:
    """The part of that name.

    Raises:
        PluginMissing: there is none, or there are several. PluginFailed: a file that was named cannot be imported.
    """
    every = [*_in_files(group), *installed(group)]
    named = [part for part in every if part.name == name]
    if len(named) == 1:
        return named[0]
    if named:
        origins = " and ".join(part.origin for part in named)
        raise PluginMissing(f"{CALLED[group]} {name}: it is in {origins}; take all but one of them away")
    known = ", ".join(sorted({part.name for part in every})) or "none"
    raise PluginMissing(
        f"{CALLED[group]} {name}: not found (here: {known}); install what has the entry point"
        f" {ENTRY_POINTS}{group}, or name its file with --plugin"
    )


def load(group: Group, name: str) -> Loaded:
    """The part of that name, imported once per process.

    Raises:
        PluginMissing, PluginFailed.
    """
    key = (group, name)
    if key not in _here.parts:
        _here.parts[key] = find(group, name).load()
    return _here.parts[key]


def check_sources(pinned: Sequence[PluginSource]) -> None:
    """Check that the code here is the code that a study was accepted with: what was imported, and what lies there now.

    Raises:
        SourceChanged: it is not. PluginMissing, PluginFailed.
    """
    for source in pinned:
        loaded = load(source.group, source.name)
        found = loaded.source
        if found == source:  # a trainer that starts later would import what lies there now
            found = found.model_copy(update={"sha256": tree_sha256(loaded.root)})
        if found != source:
            raise SourceChanged(
                f"{source}: its source has changed since the study was made, here it is {found.distribution}"
                f" {found.version}, sha256 {found.sha256[:12]}; put the old one back and the same command continues,"
                " or run the file again, which makes a new study"
            )


def _name_of(distribution: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "unknown").lower()


def _of_entry_point(group: Group, entry: EntryPoint, distribution: Distribution) -> Part:
    name, version = _name_of(distribution), distribution.version or ""

    def load_it() -> tuple[Any, PluginSource, Path]:
        _refuse_ours(entry.module)
        value = entry.load()
        root = _root_of(sys.modules[entry.module])
        source = PluginSource(
            group=group, name=entry.name, distribution=name, version=version, sha256=tree_sha256(root)
        )
        return value, source, root

    return Part(group, entry.name, f"{name} {version}".strip(), load_it)


def _refuse_ours(module: str) -> None:
    if module.partition(".")[0] in OURS:
        raise ImportError(f"module {module}: its name is one of this program's own packages; rename it")


def _root_of(module: ModuleType) -> Path:
    """The folder of its top-level package, or the file of a module that stands alone."""
    top = sys.modules[module.__name__.partition(".")[0]]
    if top.__file__ is None:  # a namespace package: what was imported of it
        return Path(str(module.__file__))
    path = Path(top.__file__)
    return path.parent if hasattr(top, "__path__") else path


def _in_files(group: Group) -> list[Part]:
    found = []
    for path in _here.files:
        module, sha256 = _module(path)
        for name, value in _listed(module, path).get(group, {}).items():
            source = PluginSource(group=group, name=name, distribution=path.name, sha256=sha256)
            found.append(Part(group, name, str(path), partial(_as_it_is, (value, source, path))))
    return found


def _as_it_is(loaded: tuple[Any, PluginSource, Path]) -> tuple[Any, PluginSource, Path]:
    return loaded


def _module(path: Path) -> tuple[ModuleType, str]:
    """The module of a file, made of the very bytes that are hashed.

    Raises:
        PluginFailed: it cannot be read or imported.
    """
    if path not in _here.modules:
        try:
            data = path.read_bytes()
            sha256 = file_sha256(data)
            name = f"warmup_bench_plugin_{sha256[:16]}"
            spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            module.__file__ = str(path)
            sys.modules[name] = module  # dataclasses and pickles look their module up
            exec(compile(data, str(path), "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            raise PluginFailed(f"--plugin {path}: {_why(error)}") from error
        _here.modules[path] = module, sha256
    return _here.modules[path]


def _why(error: BaseException) -> str:
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, ModuleNotFoundError):
        top = (error.name or "").partition(".")[0]
        hidden = f"; `{top}` is one of this program's own packages" if top in OURS else ""
        return f"{said}{hidden}; a plugin file stands alone: it may import what is installed, not what lies beside it"
    return said


def _listed(module: ModuleType, path: Path) -> dict[str, dict[str, Any]]:
    listed = getattr(module, "PLUGINS", None)
    example = 'PLUGINS = {"models": {"my_net": my_net}}'
    if not isinstance(listed, dict) or not all(isinstance(value, dict) for value in listed.values()):
        raise PluginFailed(f"--plugin {path}: got no list of its parts, allowed {example}")
    if unknown := [str(group) for group in listed if group not in GROUPS]:
        raise PluginFailed(f"--plugin {path}: PLUGINS: got {', '.join(unknown)}, allowed {', '.join(GROUPS)}")
    bad = [repr(name) for parts in listed.values() for name in parts if not is_part_name(name)]
    if bad:
        allowed = "names of letters, digits, _, - and dots that begin with a letter or _, as a study says them"
        raise PluginFailed(f"--plugin {path}: PLUGINS: got {', '.join(bad)[:200]}, allowed {allowed}")
    return listed
