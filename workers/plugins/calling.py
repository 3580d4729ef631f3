"""What a user's own code raises, said with the name of the part that raised it."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import WarmupBenchError
from schemas.plugins import CALLED, Group

OURS = str(Path(__file__).parents[1])


class PluginFailed(WarmupBenchError):
    """A part of the user's own raised, or gave what its group does not allow; the message names it."""

    code = "plugin_failed"


@contextmanager
def calling(group: Group, name: str, given: str = "") -> Iterator[None]:
    """Whatever is raised inside is that part's doing. `given`: what it was called with, for the message.

    Raises:
        PluginFailed: with the exception as its cause. Of a `sys.exit`, too: a trainer is not the part's to end.
    """
    try:
        yield
    except PluginFailed:
        raise
    except (Exception, SystemExit) as error:
        text = f"{CALLED[group]} {name} raised {told(error)}"[:400]
        raise PluginFailed(f"{text} ({_place(error)}){given and f', given {given}'}") from error


def told(error: BaseException) -> str:
    """What was raised, and the first line of its message."""
    try:
        said = next(iter(str(error).splitlines()), "")
    except Exception:  # the message is the user's own code, too
        said = "its message cannot be had"
    return f"{type(error).__name__}: {said}"


def _place(error: BaseException) -> str:
    """Where in the user's code it was raised, or came through: `mynet.py:12`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if not (frame.filename.startswith(OURS) or f"{os.sep}torch{os.sep}" in frame.filename)
    ]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
