"""Text filled to a width, in a file and on a screen alike."""

from textwrap import fill

_INDENT = "  "


def wrapped(text: str, width: int = 80) -> str:
    """`text` filled anew to `width` columns, line by line; what is indented goes on with the line before it.

    >>> print(wrapped("- one two\\n  three\\nfour", 9), end="")
    - one two
      three
    four
    """
    lines: list[str] = []
    for line in text.rstrip().split("\n"):
        if line.startswith(_INDENT) and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(_filled(line, width) for line in lines) + "\n"


def _filled(line: str, width: int) -> str:
    return fill(line, width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False)
