"""The sets as lines for people."""

from collections.abc import Sequence

from workers.data.inventory import SetStatus

SHORT_DIGITS = 12


def as_table(sets: Sequence[SetStatus]) -> str:
    """One line per set under a heading, what is wrong with one on a line of its own."""
    rows: list[tuple[str, ...]] = [("set", "state", "bytes", "sha256", "licence", "where", "got by")]
    rows += [_row(status) for status in sets]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row, status in zip(rows, (None, *sets), strict=True):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if status is not None and status.detail:
            lines.append(f"  {status.name} is damaged: {status.detail}")
    return "\n".join(lines)


def _row(status: SetStatus) -> tuple[str, ...]:
    size = f"{status.num_bytes:,}" if status.num_bytes else "-"
    return (
        status.name,
        status.state,
        size,
        (status.sha256 or "-")[:SHORT_DIGITS],
        status.licence,
        status.where,
        status.get,
    )
