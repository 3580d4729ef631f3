"""Reads a trial's rows of one table over the wire: as plain columns, or as an Arrow table."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx

from schemas.records import TABLES
from service.client.errors import StrangeAnswer

if TYPE_CHECKING:
    import pyarrow as pa

JSON_ROWS = 1_000
"""Rows in one JSON answer: the most that the service gives."""

Ask = Callable[[Mapping[str, Any]], httpx.Response]
"""One request with these parameters."""


def read_columns(ask: Ask, table: str, columns: Sequence[str] | None, steps: Mapping[str, int]) -> dict[str, list[Any]]:
    """Column -> values, sorted by step; numbers that are not finite are floats again."""
    selection = _selection(table, columns, steps)
    types = {column.name: column.type for column in TABLES.get(table, ())}
    found: dict[str, list[Any]] = {name: [] for name in columns or types}
    cursor: str | None = None
    while True:
        page = _page(ask(selection | {"limit": JSON_ROWS, "cursor": cursor}))
        for row in page["items"]:
            for name, values in found.items():
                values.append(float(row[name]) if types.get(name) == "float64" else row[name])
        cursor = page["next"]
        if cursor is None:
            return found


def read_table(ask: Ask, table: str, columns: Sequence[str] | None, steps: Mapping[str, int]) -> "pa.Table":
    """The same as one Arrow table, with each column's meaning and unit in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    selection = _selection(table, columns, steps)
    parts: list[pa.Table] = []
    cursor: str | None = None
    while True:
        response = ask(selection | {"cursor": cursor})
        try:
            parts.append(pq.read_table(io.BytesIO(response.content)))
        except pa.ArrowInvalid as error:
            raise StrangeAnswer(f"{response.url.host}: an answer that is no whole Parquet file; try again") from error
        cursor = _cursor(response)
        if cursor is None:
            return pa.concat_tables(parts)


def _selection(table: str, columns: Sequence[str] | None, steps: Mapping[str, int]) -> dict[str, Any]:
    return {"table": table, "columns": None if columns is None else ",".join(columns), **steps}


def _page(response: httpx.Response) -> dict[str, Any]:
    try:
        page = response.json()
        if isinstance(page["items"], list) and isinstance(page["next"], str | None):
            return dict(page)
    except (ValueError, KeyError, TypeError):
        pass
    raise StrangeAnswer(f"{response.url.host}: an answer that is no whole page of rows; try again")


def _cursor(response: httpx.Response) -> str | None:
    following = response.links.get("next", {}).get("url")
    return None if following is None else parse_qs(urlsplit(following).query).get("cursor", [None])[0]
