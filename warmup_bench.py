"""The notebook door: `load` a result folder, or `run` a study and load what it leaves.

import warmup_bench as wb
study = wb.run("quickstart")                # a preset, a YAML file, or a document as a dictionary
study.trials.groupby("schedule")["final_validation_loss"].min()
print(study.verdict)
study.figure("metric_over_peak_lr")         # a plotly figure
"""

import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["Results", "WarmupBenchError", "load", "main", "run"]


def _import_ours() -> None:
    """Import our three packages from beside this file: a folder on the path may well have the name of one of them."""
    here = str(Path(__file__).resolve().parent)
    for name in ("schemas", "workers", "service"):
        spec = PathFinder.find_spec(name, [here])
        if spec is None or spec.loader is None:
            raise ImportError(f"warmup_bench: its package {name} is not in {here}; install it again")
        loaded = sys.modules.get(name)
        if loaded is None:
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        elif loaded.__file__ != spec.origin:
            where = loaded.__file__ or list(getattr(loaded, "__path__", []))
            raise ImportError(f"warmup_bench: a package called {name} is loaded already, from {where}")


_import_ours()
from schemas.errors import PlaceError, WarmupBenchError  # noqa: E402 - only now it is known whose `schemas` this is


def main() -> None:
    """The console command `warmup-bench`."""
    from service.cli.main import main as command

    command()


class Results:
    """A result folder. Tables are read when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, name: str) -> "pd.DataFrame":
        """One of the tables `trials`, `steps`, `evaluations`, `probes`, `events`, `timings` (see schemas/records.py).

        Raises:
            PlaceError: the folder has no such table.
        """
        from workers.records import read_result_table

        return read_result_table(self.folder, name).to_pandas()

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """One row per trial."""
        return self.table("trials")

    @cached_property
    def steps(self) -> "pd.DataFrame":
        """One row per trial and step."""
        return self.table("steps")

    @cached_property
    def evaluations(self) -> "pd.DataFrame":
        """One row per trial and evaluation."""
        return self.table("evaluations")

    @cached_property
    def probes(self) -> "pd.DataFrame":
        """One row per trial, probe and point."""
        return self.table("probes")

    @cached_property
    def events(self) -> "pd.DataFrame":
        """One row per thing that happened to a trial; `values` is JSON."""
        return self.table("events")

    @cached_property
    def timings(self) -> "pd.DataFrame":
        """Seconds, one row per trial and phase."""
        return self.table("timings")

    @cached_property
    def verdict(self) -> str:
        """The verdict in words."""
        return (self.folder / "verdict.txt").read_text(encoding="utf-8")

    def replay(self, trial_id: str) -> dict[str, Any]:
        """The rates that a trial applied, as the `warmup` of a schedule that applies them again in open loop.

        Beside `decay: {kind: constant}` and at the same peak it makes the same updates, on a deterministic function to
        the last bit. Ids may be cut short.

        Raises:
            ValueError: no trial, or more than one, has an id that begins so, or it made no update.
        """
        import numpy as np

        mine = self.trials[self.trials.trial_id.str.startswith(trial_id)]
        if len(mine) != 1:
            raise ValueError(f"trial_id: got {trial_id!r}, which {len(mine)} trials have, allowed the id of one")
        (row,) = mine.itertuples()
        steps = self.steps[self.steps.trial_id == row.trial_id].sort_values("step")
        rates = steps.lr[np.isfinite(steps.lr)].tolist()
        if not rates:
            raise ValueError(f"trial_id: got {trial_id!r}, which made no update, allowed a trial that did")
        return {"kind": "replay", "peak_lr": max(float(row.peak_lr), *rates), "rates": rates}

    def figure(self, name: str) -> "go.Figure":
        """A figure of the report, interactive.

        Raises:
            ValueError: there is no figure of that name; the message lists them.
        """
        from workers.analysis import figure

        return figure(self.folder, name)

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r})"


def load(folder: str | os.PathLike[str]) -> Results:
    """The results in a folder that `warmup-bench run` or `report` wrote.

    Raises:
        PlaceError: it is no such folder.
    """
    path = Path(folder)
    if not (path / "trials.parquet").is_file():
        raise PlaceError(f"{path}: no trials.parquet there; name a folder that `warmup-bench run` or `report` wrote")
    return Results(path)


def run(
    study: str | os.PathLike[str] | Mapping[str, Any],
    *,
    out: str | os.PathLike[str] | None = None,
    home: str | None = None,
    tracking_uri: str | None = None,
    workers: int | None = None,
    plugins: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    quiet: bool = False,
) -> Results:
    """Run a study on this machine, or continue it, and load its results. Interrupting keeps what is done.

    Args:
        plugins: files with parts of your own, as `--plugin` names them; one of them may stand alone.

    Raises:
        SpecError: the study is refused. PlaceRefused: a place is. DriverFailed: it could not be run to its end.
    """
    from service.cli.display import Display
    from service.preparing import prepare
    from service.requests import accept, check_workers
    from service.running import DriverFailed, Watch, collect
    from service.spec_files import read_document
    from workers.ledger.ledger import Ledger
    from workers.places import Places

    document = dict(study) if isinstance(study, Mapping) else read_document(os.fspath(study))
    files = [plugins] if isinstance(plugins, str | os.PathLike) else plugins
    places = Places.resolve(home=home, tracking_uri=tracking_uri, plugins=[os.fspath(path) for path in files])
    check_workers(workers)
    request = accept(document, places)
    places.check_writable()
    places.make_home()
    with Ledger.open(places.home) as ledger:
        prepared = prepare(ledger, request, places, None if out is None else Path(out))
        row, watch = prepared.row, Watch(ledger, prepared.row, places, workers)
        with Display(row.total, places.tracking_uri) if not quiet else nullcontext() as display:
            show = display.show if display is not None else lambda progress: None
            try:
                row = row if row.state.is_final else watch.follow(show)
                watch.publish(show)
            except KeyboardInterrupt:
                watch.stop()
                raise
        if row.state != "done":
            raise DriverFailed(f"study {row.id} is {row.state}: {row.reason}; running it again continues")
        return load(collect(ledger, places, prepared, rewrite=watch.has_failed))
