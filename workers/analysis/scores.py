"""The one number that each trial is judged by: every done trial has one, diverged or not."""

import re
from collections.abc import Collection

import numpy as np
import pandas as pd

from schemas import records
from workers.analysis.question import Question

_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def score_trials(trials: pd.DataFrame, question: Question) -> pd.DataFrame:
    """`trials` in a fixed order, with the columns that the statistics stand on.

    rate: peak LR, or its multiple of 1/sharpness where that was stated. cluster: the initialization seed, whose rows
    are one observation. workload, optimizer, schedule: the entry's name with its swept values that are not tuned;
    the entry's own name is in workload_entry, and so on. group: what is compared apart (workload and optimizer).
    contender: what is compared within it (the schedule). settings: the tuned swept values. done; useless: diverged or
    stalled. score: NaN for a trial that is not done. reference: of the best constant answer, or of the start.
    """
    scored = trials.copy()
    scored["rate"] = scored["lr_multiple"].where(np.isfinite(scored["lr_multiple"]), scored["peak_lr"])
    scored["cluster"] = scored["seed"].str.split("-").str[0]
    _add_labels(scored, question)
    _add_scores(scored, question)
    return _ordered(scored, question)


def swept_columns(trials: pd.DataFrame) -> list[str]:
    """The columns of swept paths, such as `optimizer.weight_decay`, in order of name."""
    return sorted(name for name in trials.columns if name not in records.names("trials") and "." in name)


def natural_key(cluster: str) -> tuple[int, str]:
    """Sorts seeds as numbers."""
    return (int(cluster), "") if cluster.isdigit() else (2**62, cluster)


def _add_labels(scored: pd.DataFrame, question: Question) -> None:
    """A variant's name, `linear warmup.steps=20`, is taken apart, so that values that are tuned join one contender."""
    swept = swept_columns(scored)
    fixed = [name for name in swept if name not in question.tuned]
    stated_schedule = scored["schedule"]
    for axis, entries in (
        ("workload", question.workloads),
        ("optimizer", question.optimizers),
        ("schedule", question.schedules),
    ):
        own = _settings_label(scored, [name for name in fixed if name.partition(".")[0] == axis])
        names = {name: _entry_of(name, entries) for name in scored[axis].unique()}
        scored[f"{axis}_entry"] = scored[axis].map(names).astype(object)
        scored[axis] = _joined(scored[f"{axis}_entry"], own, " ")
    by_entry = scored["schedule_entry"] == question.baseline
    # a baseline with variants is tuned over them: the comparison is with the best of it
    scored["contender"] = scored["schedule"].where(~by_entry, scored["schedule_entry"])
    scored["is_baseline"] = by_entry | (stated_schedule == question.baseline)
    chosen = [name for name in swept if name in question.tuned]
    of_baseline = [name for name in swept if name in chosen or name.startswith("schedule.")]
    scored["settings"] = _settings_label(scored, chosen).where(~by_entry, _settings_label(scored, of_baseline))
    scored["group"] = _joined(scored["workload"], scored["optimizer"], ", ")


def _entry_of(name: str, entries: Collection[str]) -> str:
    """`linear` of `linear warmup.steps=20`, where the spec has an entry of that name."""
    if name in entries:
        return name
    fitting = [entry for entry in entries if name.startswith(f"{entry} ") and "=" in name[len(entry) :]]
    return max(fitting, key=len, default=name)


def _settings_label(trials: pd.DataFrame, columns: list[str]) -> pd.Series:
    label = pd.Series("", index=trials.index, dtype=object)
    for name in columns:
        there = trials[name].notna() & (trials[name].astype(str) != "")
        text = name.partition(".")[2] + "=" + trials[name].map(_short)
        label = _joined(label, text.where(there, ""), " ")
    return label


def _joined(left: pd.Series, right: pd.Series, between: str) -> pd.Series:
    both = (left != "") & (right != "")
    return left.astype(object) + np.where(both, between, "") + right.astype(object)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _add_scores(scored: pd.DataFrame, question: Question) -> None:
    metric_of = {name: question.metric_of(name) for name in scored["workload_entry"].unique()}
    scored["done"] = scored["state"] == "done"
    scored["useless"] = scored["done"] & scored["outcome"].isin(["diverged", "stalled"])
    value, reference, penalty = (np.full(len(scored), np.nan) for _ in range(3))
    for workload, metric in metric_of.items():
        rows = (scored["workload_entry"] == workload).to_numpy()
        part = scored.loc[rows]
        value[rows] = part[f"final_{metric}"]
        if question.higher_is_better(workload):
            reference[rows] = penalty[rows] = _chance(part, question.loss_kind(workload))
        else:
            reference[rows] = part["start_loss" if question.is_analytic(workload) else "reference_loss"]
            penalty[rows] = _useless_loss(part)
    without_value = scored["done"].to_numpy() & ~np.isfinite(value)
    penalised = scored["useless"].to_numpy() | without_value
    scored["without_value"] = without_value & ~scored["useless"].to_numpy()
    scored["reference"] = reference
    scored["score"] = np.where(scored["done"], np.where(penalised, penalty, value), np.nan)


def _chance(part: pd.DataFrame, loss_kind: str | None) -> np.ndarray:
    """1/classes where they are balanced, else 1/(as many balanced classes as would give this reference); 0 if unknown.

    Of cross entropy exp(-label entropy). Of mse C classes give the reference r = (1 - 1/C)/(2 C): solved for 1/C.
    """
    reference = part["reference_loss"].to_numpy(dtype=float)
    kinds = part.get("workload.loss.kind", pd.Series(loss_kind, index=part.index)).to_numpy()
    known = np.where(np.isfinite(reference), reference, 0.0)
    squared = (1.0 - np.sqrt(np.clip(1.0 - 8.0 * known, 0.0, 1.0))) / 2.0
    return np.where(np.isfinite(reference), np.where(kinds == "mse", squared, np.exp(-known)), 0.0)


def _useless_loss(part: pd.DataFrame) -> np.ndarray:
    """max(start, reference); where neither is finite, the worst of the workload's, or infinity."""
    known = part[["start_loss", "reference_loss"]].to_numpy(dtype=float)
    worst = np.where(np.isfinite(known), known, -np.inf).max(axis=1, initial=-np.inf)
    overall = worst.max(initial=-np.inf)
    return np.where(np.isfinite(worst), worst, overall if np.isfinite(overall) else np.inf)


def _place_among(names: pd.Series) -> pd.Series:
    """The place of each name in their order, in which `steps=16` comes before `steps=128`."""
    order = sorted(names.unique(), key=_by_numbers)
    return names.map({name: place for place, name in enumerate(order)})


def _by_numbers(name: str) -> list[str | float]:
    # every second part is a number, so that like is compared with like
    return [float(part) if index % 2 else part for index, part in enumerate(_NUMBER.split(name))]


def _ordered(scored: pd.DataFrame, question: Question) -> pd.DataFrame:
    keys = pd.DataFrame(index=scored.index)
    for axis, stated in (
        ("workload", list(question.workloads)),
        ("optimizer", list(question.optimizers)),
        ("schedule", list(question.schedules)),
    ):
        rank = {name: index for index, name in enumerate(stated)}
        keys[f"{axis}_rank"] = scored[f"{axis}_entry"].map(rank).fillna(len(rank)).astype(float)
        keys[axis] = _place_among(scored[axis])
    keys["rate"] = scored["rate"]
    for name in swept_columns(scored):
        numbers = pd.to_numeric(scored[name], errors="coerce")
        keys[name] = numbers if numbers.notna().any() else scored[name].astype(str)
    keys["cluster"] = scored["cluster"].map(natural_key)
    keys["seed"], keys["trial_id"] = scored["seed"], scored["trial_id"]
    return scored.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)
