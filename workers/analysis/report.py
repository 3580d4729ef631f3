"""A study's results, from its folder to an answer: verdicts, tables, figures."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from schemas.errors import PlaceError
from schemas.study_budget import BUDGET_USED_UP
from workers.analysis.cells import CellTable, make_cells
from workers.analysis.costs import Cost, PhaseTime, ProbeQuality, costs, phase_times, probe_quality
from workers.analysis.curvature import Curvature, curvature
from workers.analysis.derived import Derived, derived_outcome, derived_sentences
from workers.analysis.dynamics import Dynamics, dynamics, found_events, regimes
from workers.analysis.figures import draw_all
from workers.analysis.figures.model import Figure, figure_from_json
from workers.analysis.figures.source import read_source
from workers.analysis.law_words import law_sentences
from workers.analysis.laws import Law, measure_laws
from workers.analysis.noise import NoiseFit, noise_fits
from workers.analysis.phrases import usable_bound
from workers.analysis.plain import json_text, plain, plural
from workers.analysis.question import read_question
from workers.analysis.ranking import Group, make_groups
from workers.analysis.reading import ResultFolder
from workers.analysis.scores import score_trials
from workers.analysis.usable import mark_usable
from workers.analysis.why import why
from workers.analysis.words import measured, paragraph
from workers.wrapping import wrapped

REPORT_VERSION = 1


@dataclass(frozen=True)
class StudyReport:
    """Everything that the report says. Equal folders give equal reports, byte for byte: no clock is read.

    verdicts: group label -> its sentences. curvature: group label -> what the sentence that says why stands on.
    laws: group label -> its smoothness laws, the main one first; without the groups in which nothing was measured.
    law_words: group label -> the same in words.
    derived: what came of a study that was derived from a pilot; None of any other.
    counts: trials by state and outcome. dynamics: what happened on the way; noise: of gradients; empty where nothing
    did, or was measured. cells: one mapping per cell. budget: what the study's budget left out, as a
    sentence; empty where it left out nothing.
    """

    study: str
    description: str
    spec: Mapping[str, Any]
    counts: Mapping[str, int]
    budget: str
    verdicts: Mapping[str, tuple[str, ...]]
    groups: tuple[Group, ...]
    curvature: Mapping[str, Curvature]
    laws: Mapping[str, tuple[Law, ...]]
    law_words: Mapping[str, tuple[str, ...]]
    derived: Derived | None
    cells: tuple[Mapping[str, Any], ...]
    costs: tuple[Cost, ...]
    probes: tuple[ProbeQuality, ...]
    phases: tuple[PhaseTime, ...]
    dynamics: tuple[Dynamics, ...]
    noise: tuple[NoiseFit, ...]
    figures: Mapping[str, Figure]

    @property
    def verdict(self) -> str:
        """The verdict as text of at most 80 columns: one paragraph per workload and optimizer."""
        header = f"{self.study}: {self._progress()}" + (f". {self.budget}" if self.budget else "")
        paragraphs = [
            "\n".join([label, *(f"- {sentence}" for sentence in sentences)])
            for label, sentences in self.verdicts.items()
        ]
        notes = ["\n".join(["Measured", *(f"- {note}" for note in self.measured_notes)])] if self.measured_notes else []
        laws = [
            "\n".join([f"Smoothness law, {label}", *(f"- {sentence}" for sentence in sentences)])
            for label, sentences in self.law_words.items()
        ]
        return wrapped("\n\n".join([header, *paragraphs, *laws, *notes]) + "\n")

    @property
    def measured_notes(self) -> tuple[str, ...]:
        """What must be known of the measurements before they are relied on."""
        return tuple(measured(self.probes, read_question(self.spec)))

    def to_json(self) -> dict[str, Any]:
        """JSON types alone; numbers that are not finite are the strings NaN, Infinity, -Infinity."""
        document = {"report_version": REPORT_VERSION, **plain(self)}
        document["verdict"] = self.verdict
        document["ranking"] = plain(ranking_table(self))
        return document

    def _progress(self) -> str:
        done, total = self.counts["done"], self.counts["trials"]
        return f"all {total} trials done" if done == total else f"{done} of {total} trials done"


def analyse(folder: str | os.PathLike[str], spec: Mapping[str, Any]) -> StudyReport:
    """Analyse a result folder, finished or not, by the resolved spec of its study.

    Raises:
        PlaceError: the folder has no `trials.parquet`, or a table cannot be read.
    """
    tables = ResultFolder(Path(folder))
    question = read_question(spec)
    table = make_cells(score_trials(tables.trials(), question))
    table.cells[["usable", "covered"]] = mark_usable(table, question)
    groups = make_groups(table, question)
    bends = curvature(tables, question, groups, table)
    events = found_events(tables)
    laws = measure_laws(tables, question, groups, table)
    derived = derived_outcome(tables, spec, question, groups, table)
    return StudyReport(
        study=question.study,
        description=question.description,
        spec=plain(spec),
        counts=_counts(table.trials),
        budget=_budget(table.trials),
        verdicts={
            group.label: (
                *derived_sentences(derived, group, question),
                *paragraph(group, question, why(group, question, bend)),
            )
            for group, bend in zip(groups, bends, strict=True)
        },
        groups=groups,
        curvature={group.label: bend for group, bend in zip(groups, bends, strict=True)},
        laws={label: found.laws for label, found in laws.items()},
        law_words={
            group.label: tuple(law_sentences(group, question, laws[group.label]))
            for group in groups
            if group.label in laws
        },
        derived=derived,
        cells=_cell_rows(table, regimes(events, table)),
        costs=costs(table.trials),
        probes=probe_quality(tables, question, table.trials),
        phases=phase_times(tables),
        dynamics=dynamics(events, groups, table),
        noise=noise_fits(tables, question, groups, table),
        figures=draw_all(read_source(tables, question, groups, table, laws, events)),
    )


def load_figure(source: "StudyReport | str | os.PathLike[str]", name: str) -> Figure:
    """A figure of a report, or of a folder that has a `report.json`.

    Raises:
        PlaceError: the folder has no report. ValueError: there is no figure of that name.
    """
    figures = source.figures if isinstance(source, StudyReport) else _stored_figures(Path(source))
    if name not in figures:
        raise ValueError(f"figure={name}: must be one of {', '.join(figures)}")
    return figures[name]


def ranking_table(report: StudyReport) -> list[dict[str, Any]]:
    """One plain row per workload, optimizer and schedule, best first within each: what a terminal prints."""
    rows = []
    for group in report.groups:
        for contender in group.ranked:
            comparison = contender.comparison
            rows.append(
                {
                    "workload": group.workload,
                    "optimizer": group.optimizer,
                    "schedule": contender.schedule,
                    "peak_lr": contender.best_rate,
                    "peak_lr_unit": group.rate_unit,
                    "settings": contender.settings,
                    "metric": group.metric,
                    "mean": contender.mean,
                    "sd": contender.sd,
                    "n": contender.n,
                    "trained": contender.trained,
                    "num_trials": contender.num_trials,
                    "verdict": "baseline" if contender.is_baseline else comparison.verdict.value if comparison else "",
                    "difference": comparison.difference if comparison else None,
                    "low": comparison.low if comparison else None,
                    "high": comparison.high if comparison else None,
                    "largest_usable_peak_lr": contender.usable.rate,
                    "largest_usable": usable_bound(contender.usable),
                    "steps_to_target": contender.steps.median,
                    "edge": contender.edge,
                }
            )
    return rows


def report_json(report: StudyReport) -> str:
    """The text of `report.json`."""
    return json_text(report.to_json()) + "\n"


def _counts(trials: pd.DataFrame) -> dict[str, int]:
    states = trials["state"].value_counts()
    outcomes = trials.loc[trials["done"], "outcome"].value_counts()
    return {
        "trials": len(trials),
        **{state: int(states.get(state, 0)) for state in ("done", "running", "queued", "cancelled", "errored")},
        **{outcome: int(outcomes.get(outcome, 0)) for outcome in ("trained", "stalled", "diverged")},
    }


def _budget(trials: pd.DataFrame) -> str:
    reasons = trials.loc[trials["state"] == "cancelled", "reason"].astype(str)
    left = sorted(reasons[reasons.str.startswith(BUDGET_USED_UP)])
    if not left:
        return ""
    said = left[0][0].upper() + left[0][1:]
    return f"{said}; {plural(len(left), 'trial')} not trained, so what follows is of those that were."


def _cell_rows(table: CellTable, regime_of: Mapping[int, str]) -> tuple[dict[str, Any], ...]:
    columns = ["workload", "optimizer", "schedule", "rate", "settings", "num_trials", "done", "trained", "stalled"]
    columns += ["diverged", "errored", "waiting", "usable", "n", "mean", "sd", "low", "high"]
    rows = table.cells[columns].rename(columns={"rate": "peak_lr"}).to_dict("records")
    return tuple({**row, "regime": regime_of.get(cell, "")} for cell, row in zip(table.cells.index, rows, strict=True))


def _stored_figures(folder: Path) -> dict[str, Figure]:
    try:
        stored = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise PlaceError(f"{folder}: no report.json; write the report first") from error
    return {name: figure_from_json(figure) for name, figure in stored["figures"].items()}
