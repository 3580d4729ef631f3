"""The events of every done trial of a result folder, read pack by pack: no study's curves need to fit in memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import PlaceError
from workers.analysis.events import Happened, TrialSeries, find_events
from workers.analysis.question import read_question
from workers.analysis.reading import ResultFolder
from workers.analysis.scores import score_trials, swept_columns
from workers.analysis.thresholds import sharpness_probe, swept

_PROBES = ("trial_id", "step", "probe", "value", "converged", "lr")


def trial_events(folder: Path, spec: Mapping[str, Any]) -> Iterator[tuple[str, Happened]]:
    """(trial_id, what happened), of a folder whose tables `trials`, `steps` and `probes` are there; by trial and step.

    The rows of a pack's trials stand together in `steps`, as the result folder has them.

    Raises:
        PlaceError: a table cannot be read.
    """
    tables, question = ResultFolder(folder), read_question(spec)
    trials = score_trials(tables.trials(), question)
    # two schedules that come to the same trial have a row each
    trials = trials[trials["done"].to_numpy()].drop_duplicates("trial_id").set_index("trial_id")
    columns = swept_columns(trials)
    readings = _readings(tables, set(question.probes))
    asked: dict[tuple[Any, ...], tuple[str, float]] = {}
    for trial_id, step, loss in _losses(folder / "steps.parquet", trials["pack_id"].to_dict()):
        trial = trials.loc[trial_id]
        key = (trial["workload_entry"], trial["optimizer_entry"], *(trial[name] for name in columns))
        if key not in asked:
            optimizer = swept(question.optimizers.get(key[1], {}), {name: trial[name] for name in columns})
            asked[key] = sharpness_probe(question, key[0], optimizer)
        probe, threshold = asked[key]
        found = readings.get((trial_id, probe))
        series = TrialSeries(step, loss, threshold, max(0, int(trial["warmup_steps"])), *(found or ()))
        for happened in find_events(series):
            yield trial_id, happened


def _readings(tables: ResultFolder, names: set[str]) -> dict[tuple[str, str], tuple[np.ndarray, ...]]:
    """(trial, probe) -> step, value and lr of its converged points."""
    if not names:
        return {}
    rows = tables.rows("probes", _PROBES)
    rows = rows[(rows["converged"] & np.isfinite(rows["value"]) & np.isfinite(rows["lr"])).to_numpy()]
    return {
        (str(trial_id), str(probe)): tuple(part[name].to_numpy() for name in ("step", "value", "lr"))
        for (trial_id, probe), part in rows.groupby(["trial_id", "probe"], sort=False)
    }


def _losses(path: Path, pack_of: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """trial, steps, losses of the trials that `pack_of` names, each once whole."""
    if not path.is_file():
        return
    open_packs: dict[str, dict[str, list[pd.DataFrame]]] = {}
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["trial_id", "step", "train_loss"]):
                rows = batch.to_pandas()
                packs = rows["trial_id"].map(pack_of).dropna()
                for trial_id, part in rows.loc[packs.index].groupby("trial_id", sort=False):
                    open_packs.setdefault(pack_of[trial_id], {}).setdefault(str(trial_id), []).append(part)
                for pack in [pack for pack in open_packs if len(packs) and pack != packs.iloc[-1]]:
                    yield from _whole(open_packs.pop(pack))
    except (pa.ArrowInvalid, OSError) as error:
        raise PlaceError(f"{path}: cannot be read as Parquet ({error})") from error
    for trials in open_packs.values():
        yield from _whole(trials)


def _whole(trials: Mapping[str, list[pd.DataFrame]]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for trial_id, parts in trials.items():
        rows = pd.concat(parts).sort_values("step", kind="stable")
        yield trial_id, rows["step"].to_numpy(), rows["train_loss"].to_numpy(dtype=float)
