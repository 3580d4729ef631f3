"""Brings a set into the data directory: from its own home, or from files that are here already."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import FetchFailed, PlaceError, Problem, SpecError
from schemas.problems import show
from workers.data.converting import Content
from workers.data.download import Patience, Tell, download, file_sha256
from workers.data.installing import RECORD, incoming, install, recorded
from workers.data.inventory import FILES, set_status
from workers.data.originals import SOURCES, Original, Source

ALSO_TAKEN = ("LICENSE",)
"""Beside the files of a set's folder."""


def fetch(
    name: str,
    data_dir: Path,
    *,
    replace: bool = False,
    tell: Tell = lambda file, here, total: None,
    sources: Mapping[str, Source] | None = None,
    patience: Patience | None = None,
) -> bool:
    """Bring a set from its home. False: it was here, and nothing was done.

    Args:
        replace: put it in place of what stands there and is not the set.

    Raises:
        SpecError: there is no such set, or something else stands in its place.
        FetchFailed: it did not come, or is not what it should be. PlaceError: the disk does not take it.
    """
    source = _source(name, SOURCES if sources is None else sources)
    if _is_here(name, data_dir, replace=replace):
        return False
    with incoming(data_dir, name) as folder:
        _check_space(source, folder, data_dir)
        originals = {}
        for original in source.originals:
            originals[original.file] = folder / original.file
            if not _is_right(original, folder / original.file):
                download(original, folder / original.file, tell=tell, patience=patience or Patience())
        _install_converted(name, data_dir, source, originals, [original.url for original in source.originals])
        shutil.rmtree(folder)
    return True


def take(
    name: str, path: Path, data_dir: Path, *, replace: bool = False, sources: Mapping[str, Source] | None = None
) -> bool:
    """Take a set over from files that are here (`data import`). False: it was here, and nothing was done.

    Args:
        path: the originals (a file, or a folder of them), or the set's files as they lie in a data directory (a file,
            the set's folder, or a data directory that has one).

    Raises:
        SpecError: there is no such set, or `path` is not it. PlaceError: the disk does not take it.
    """
    source = _source(name, SOURCES if sources is None else sources)
    if _is_here(name, data_dir, replace=replace):
        return False
    laid_out, originals = _laid_out(name, path), _originals(source, path)
    if laid_out is None and originals is None:
        raise SpecError([Problem("PATH", show(str(path)), _takes(name, source))])
    for each in [laid_out / Path(file).name for file in FILES[name].sha256] if laid_out else (originals or {}).values():
        _check_readable(each)
    with incoming(data_dir, name) as folder:
        # A text is its own original: where both fit, what the home gives is what is known best.
        if originals is not None and (laid_out is None or _are_right(source, originals)):
            _install_originals(name, data_dir, source, originals, path)
        elif laid_out is not None:
            _install_laid_out(name, data_dir, source, laid_out, folder)
        shutil.rmtree(folder)
    return True


def _source(name: str, sources: Mapping[str, Source]) -> Source:
    if name not in sources:
        raise SpecError([Problem("NAME", show(name), ", ".join(sorted(sources)))])
    return sources[name]


def _is_here(name: str, data_dir: Path, *, replace: bool) -> bool:
    status = set_status(name, data_dir)
    if status.state == "damaged" and not replace:
        allowed = "the set itself, or nothing; --replace puts the set in its place"
        raise SpecError([Problem(str(data_dir / name), status.detail, allowed)])
    return status.state == "present"


def _check_space(source: Source, folder: Path, data_dir: Path) -> None:
    """What comes, and about as much again for what is made of it."""
    known = sum(original.num_bytes or 0 for original in source.originals)
    here = sum(path.stat().st_size for path in folder.iterdir())
    free = shutil.disk_usage(folder).free
    if free < 2 * known - here:
        raise PlaceError(
            f"--data {data_dir}: {free:,} bytes free, {2 * known - here:,} needed; free some space there, or name"
            " another folder (--data, WARMUP_BENCH_DATA)"
        )


def _is_right(original: Original, path: Path) -> bool:
    """Whether it came whole before. One without a known hash did, or it would have another name."""
    return path.is_file() and original.sha256 in (None, file_sha256(path))


def _install_converted(
    name: str, data_dir: Path, source: Source, originals: Mapping[str, Path], came_from: list[str]
) -> None:
    try:
        files = source.convert(originals)
    except ValueError as error:
        for path in originals.values():
            if path.is_relative_to(data_dir):
                path.unlink(missing_ok=True)  # else it would be taken for the set again
        raise FetchFailed(f"{name}: what came is not the set: {error}") from error
    said = {
        "from": came_from,
        "originals": {
            file: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for file, path in originals.items()
        },
        "licence": source.licence,
        "home": source.home,
    }
    install(data_dir, name, files, said)


def _laid_out(name: str, path: Path) -> Path | None:
    """The folder that holds the set's files as a data directory does."""
    files = [Path(relative).name for relative in FILES[name].sha256]
    for folder in (path, path / name, path.parent if len(files) == 1 and path.name == files[0] else path):
        if all((folder / file).is_file() for file in files):
            return folder
    return None


def _originals(source: Source, path: Path) -> dict[str, Path] | None:
    if path.is_file() and len(source.originals) == 1:
        return {source.originals[0].file: path}
    found = {original.file: path / original.file for original in source.originals}
    return found if all(each.is_file() for each in found.values()) else None


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise SpecError([Problem("PATH", f"{path}: {error.strerror or error}", "files that can be read")]) from error


def _are_right(source: Source, originals: Mapping[str, Path]) -> bool:
    return all(_is_right(original, originals[original.file]) for original in source.originals)


def _install_originals(name: str, data_dir: Path, source: Source, originals: Mapping[str, Path], path: Path) -> None:
    for original in source.originals:
        _check_original(original, originals[original.file])
    try:
        _install_converted(name, data_dir, source, originals, [str(path)])
    except FetchFailed as error:
        raise SpecError([Problem("PATH", str(error), f"the original of {source.home}")]) from error


def _check_original(original: Original, path: Path) -> None:
    got = file_sha256(path)
    if original.sha256 not in (None, got):
        raise SpecError([Problem(str(path), f"sha256 {got}", f"{original.sha256}, that of {original.url}")])


def _install_laid_out(name: str, data_dir: Path, source: Source, folder: Path, staging: Path) -> None:
    """Copied first, then checked: what is checked is what is kept."""
    known, record = FILES[name].sha256, recorded(folder)
    copies: dict[str, Content] = {}
    problems = []
    for relative, sha256 in known.items():
        file = Path(relative).name
        copies[file] = Path(shutil.copyfile(folder / file, staging / file))
        got = file_sha256(staging / file)
        if got not in (sha256, record.get(file)):
            allowed = f"{sha256}, or the one in a {RECORD} beside it"
            problems.append(Problem(str(folder / file), f"sha256 {got}", allowed))
    if problems:
        shutil.rmtree(staging)
        raise SpecError(problems)
    for file in ALSO_TAKEN:
        if (folder / file).is_file():
            copies[file] = folder / file
    install(data_dir, name, copies, {"from": [str(folder)], "licence": source.licence, "home": source.home})


def _takes(name: str, source: Source) -> str:
    files = " and ".join(Path(relative).name for relative in FILES[name].sha256)
    originals = " and ".join(original.file for original in source.originals)
    return f"a folder with {files}, or the original ({originals}) of {source.home}"
