"""The table `events` of a result folder: what trainers wrote down, and what is found in the rows of each trial."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from workers.analysis import trial_events
from workers.analysis.events import KINDS
from workers.records import arrow_schema, read_result_table, write_result_table


def add_found_events(folder: Path, spec: Mapping[str, Any]) -> None:
    """Write `events` again, with the events that follow from the folder's other tables; by trial and step.

    They are found anew each time, from rows alone, so that the same rows give the same table.
    """
    written = read_result_table(folder, "events").to_pandas()
    found = [
        (trial_id, happened.step, happened.kind, json.dumps(_strict(happened.values)))
        for trial_id, happened in trial_events(folder, spec)
    ]
    if not found:
        return
    written = written[~written["kind"].isin(KINDS).to_numpy()]
    rows = pd.concat([written, pd.DataFrame(found, columns=list(written.columns))], ignore_index=True)
    order = {trial_id: index for index, trial_id in enumerate(_trial_ids(folder))}
    rows = rows.assign(place=rows["trial_id"].map(order)).sort_values(["place", "step"], kind="stable")
    schema = arrow_schema("events")
    write_result_table(folder, "events", pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False))


def _trial_ids(folder: Path) -> list[str]:
    found: list[str] = read_result_table(folder, "trials", ["trial_id"])["trial_id"].to_pylist()
    return found


def _strict(values: Mapping[str, float | str]) -> dict[str, float | str]:
    return {
        name: value if isinstance(value, str) or math.isfinite(value) else str(value) for name, value in values.items()
    }
