"""Widening a study: what a wider spec adds to it becomes its next round; what it has stays as it is."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from schemas.catalog import dataset_facts
from schemas.errors import Problem, SpecError, WrongState
from schemas.expansion import AXES
from schemas.extension import component_problems, measurement_problems
from schemas.problems import show
from schemas.study import Study, parse_study
from schemas.trials import Seed, TrialSpec, total_steps
from workers.ledger.idempotency import AnsweredBefore
from workers.ledger.inputs import Idempotency, NewTrial, Quota
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyHead, StudyRow, TrialRow
from workers.studies import new_trial, published_datasets

MAX_NAMED = 5
"""So many of the values that are gone are named."""


@dataclass(frozen=True)
class ExtendResult:
    """A study, and what was added to it."""

    row: StudyHead
    round: int | None
    """The number of the new round; None: there was nothing new."""
    num_new: int
    """Trials of the new round."""
    is_replayed: bool = False
    """Nothing was done now: the same request was answered so before."""


def extend_study(
    ledger: Ledger,
    study_id: str,
    study: Study,
    trials: Sequence[TrialSpec],
    *,
    quota: Quota | None = None,
    asked: tuple[str, Idempotency] | None = None,
) -> ExtendResult:
    """Make the trials that `study` has and the one in the ledger lacks its next round, and `study` its spec.

    A final study is queued again, with what it had left cancelled or errored too. Where nothing is new its spec
    stays, but for its budget, and a final one goes on with what it lacks; so extending twice is extending once.

    Args:
        study: the wider one, whole.
        trials: of `study`, expanded.
        asked: owner and idempotency key of the request: when it comes again, it is answered alike and nothing is done.

    Raises:
        SpecError: a trial of the study is gone, or measured or named otherwise; or `study` has another name or device.
        WrongState: there are new trials, and the study runs. QuotaExceeded. DataMissing. StudyNotFound.
        IdempotencyConflict.
    """
    while True:
        if asked is not None and (before := ledger.replayed_extension(*asked)) is not None:
            return ExtendResult(before.head, before.round, before.num_new, is_replayed=True)
        with suppress(AnsweredBefore, _Overtaken):  # somebody else was faster: what is new is asked again
            return _extend(ledger, ledger.study(study_id), study, trials, quota, asked)


class _Overtaken(Exception):
    """The study was extended while this extension was being prepared."""


def _extend(
    ledger: Ledger,
    row: StudyRow,
    study: Study,
    trials: Sequence[TrialSpec],
    quota: Quota | None,
    asked: tuple[str, Idempotency] | None,
) -> ExtendResult:
    kept = _compare(ledger, row, study, trials)
    if problems := _problems(row, study, trials, kept):
        raise SpecError(problems)
    new = [trial for trial in trials if trial.trial_id not in kept.trial_ids]
    rebudgeted = _with_budget_of(study, row)
    if not new and rebudgeted is None:
        return ExtendResult(ledger.continue_study(row.id, quota=quota, asked=asked), None, 0)
    number = ledger.rounds(row.id)[-1].round + 1
    try:
        if not new and rebudgeted is not None:
            same = ledger.change_budget(
                row.id,
                spec=dict(rebudgeted.resolved),
                spec_hash=rebudgeted.spec_hash,
                was_spec_hash=row.spec_hash,
                quota=quota,
                asked=asked,
            )
            return ExtendResult(same, None, 0)
        wider = ledger.extend_study(
            row.id,
            spec=dict(study.resolved),
            spec_hash=study.spec_hash,
            was_spec_hash=row.spec_hash,
            body={"spec": dict(study.resolved)},
            trials=_new_trials(ledger, study, new, row.total, number),
            quota=quota,
            asked=asked,
        )
    except WrongState:
        if ledger.study_head(row.id).spec_hash == row.spec_hash:
            raise
        raise _Overtaken from None
    return ExtendResult(wider, number, len(new))


def _with_budget_of(study: Study, row: StudyRow) -> Study | None:
    """The study as it is, but for the budget that `study` gives it; None: it has that one."""
    if study.resolved.get("budget") == row.spec.get("budget"):
        return None
    document = {key: value for key, value in row.spec.items() if key != "budget"}
    return parse_study(document | ({"budget": study.resolved["budget"]} if "budget" in study.resolved else {}))


@dataclass
class _Kept:
    """A study's trials, by what a wider spec makes of them."""

    trial_ids: set[str] = field(default_factory=set)
    gone: list[TrialRow] = field(default_factory=list)
    measured_otherwise: list[TrialRow] = field(default_factory=list)
    renamed: list[tuple[TrialRow, TrialSpec]] = field(default_factory=list)


def _compare(ledger: Ledger, row: StudyRow, study: Study, trials: Sequence[TrialSpec]) -> _Kept:
    given = {trial.trial_id: trial for trial in trials}
    measured = {id(trial.workload): study.measurement_id(trial.workload) for trial in _one_per_workload(trials)}
    kept = _Kept()
    for old in ledger.trials(row.id):
        kept.trial_ids.add(old.trial_id)
        trial = given.get(old.trial_id)
        if trial is None:
            kept.gone.append(old)
        elif measured[id(trial.workload)] != old.measurement_id:
            kept.measured_otherwise.append(old)
        elif trial.names != _names(old):
            kept.renamed.append((old, trial))
    return kept


def _one_per_workload(trials: Iterable[TrialSpec]) -> Iterable[TrialSpec]:
    return {id(trial.workload): trial for trial in trials}.values()


def _new_trials(ledger: Ledger, study: Study, new: Sequence[TrialSpec], first: int, number: int) -> list[NewTrial]:
    datasets = published_datasets(ledger)
    said = {
        id(trial.workload): (
            study.measurement_id(trial.workload),
            total_steps(trial.workload, dataset_facts(trial.workload, datasets)),
        )
        for trial in _one_per_workload(new)
    }
    return [
        new_trial(trial, index, *said[id(trial.workload)], round_number=number)
        for index, trial in enumerate(new, first)
    ]


def _problems(row: StudyRow, study: Study, trials: Sequence[TrialSpec], kept: _Kept) -> list[Problem]:
    problems = []
    if study.name != row.name:
        problems.append(Problem("name", show(study.name), f"{show(row.name)}: an extension is the same study"))
    device, planned = study.fields.execution.device, row.device_class
    if planned is not None and device != "auto" and (device == "cpu") != (planned == "cpu"):
        problems.append(Problem("execution.device", device, f"auto: the study's trials are trained on {planned}"))
    problems += _source_problems(parse_study(row.spec), study)
    if kept.gone and not problems:
        problems += _gone_problems(parse_study(row.spec), study, trials, kept.gone)
    if kept.measured_otherwise:
        workloads = {old.workload for old in kept.measured_otherwise}
        problems += measurement_problems(parse_study(row.spec), study, workloads) or [
            _trials_problem(kept.measured_otherwise, "that this version of the program measures otherwise")
        ]
    return problems + _renamed_problems(kept.renamed)


def _source_problems(old: Study, study: Study) -> list[Problem]:
    """Own parts whose code is another by now: their trials would be another study's."""
    had = {source.key: source for source in old.fields.plugins}
    return [
        Problem(f"plugins[{index}]", str(source), f"{had[source.key]}, as the study has it")
        for index, source in enumerate(study.fields.plugins)
        if had.get(source.key, source) != source
    ]


def _gone_problems(old: Study, study: Study, trials: Sequence[TrialSpec], gone: list[TrialRow]) -> list[Problem]:
    """What the wider spec lacks, by the first axis that explains it: names, then what they stand for, rates, seeds."""
    had = {axis: list(dict.fromkeys(_names(row)[i] for row in gone)) for i, axis in enumerate(AXES)}
    has = {axis: list(dict.fromkeys(variant.name for variant in study.variants(axis))) for axis in AXES}
    problems = [
        Problem(axis, _listed(has[axis]), f"also {_listed(missing)}: an extension holds every trial of the study")
        for axis in AXES
        if (missing := [name for name in had[axis] if name not in has[axis]])
    ]
    return (
        problems
        or component_problems(old, study, had)
        or _link_problems(old, study)
        or _rate_and_seed_problems(study, trials, gone)
        or [_trials_problem(gone, "whose data, or whose program, has changed since the study was made")]
    )


def _rate_and_seed_problems(study: Study, trials: Sequence[TrialSpec], gone: list[TrialRow]) -> list[Problem]:
    cells = {(trial.names, trial.peak_lr) for trial in trials}
    met = {trial.names for trial in trials}
    lacking = [row for row in gone if _names(row) in met and (_names(row), row.peak_lr) not in cells]
    labels = [seed.label for seed in study.fields.seed_list()]
    unseen = [label for label in dict.fromkeys(Seed(**row.seed).label for row in gone) if label not in labels]
    problems = []
    if lacking:
        names = _names(lacking[0])
        here = dict.fromkeys(trial.peak_lr for trial in trials if trial.names == names)
        rates = dict.fromkeys(row.peak_lr for row in lacking if _names(row) == names)
        allowed = f"also {_listed(rates)}: an extension holds every trial of the study"
        problems.append(Problem("peak_lrs", _listed(here), allowed))
    if unseen:
        allowed = f"also {_listed(unseen, quoted=False)}: an extension holds every trial of the study"
        problems.append(Problem("seeds", _listed(labels, quoted=False), allowed))
    return problems


def _link_problems(old: Study, study: Study) -> list[Problem]:
    had, has = ([list(group) for group in fields.link] for fields in (old.fields, study.fields))
    return [Problem("link", show(has), f"{show(had)}, as the study has it")] if had != has else []


def _trials_problem(rows: list[TrialRow], what: str) -> Problem:
    first = rows[0]
    said = f"{len(rows)} trials {what}: {' '.join(_names(first))} lr={first.peak_lr:g} seed={Seed(**first.seed).label}"
    more = " and others" if len(rows) > 1 else ""
    return Problem("study", f"{said}{more}", "every trial of the study as it is; run the spec as a study of its own")


def _renamed_problems(renamed: list[tuple[TrialRow, TrialSpec]]) -> list[Problem]:
    problems: dict[Problem, None] = {}
    for row, trial in renamed:
        for axis, was, name in zip(AXES, _names(row), trial.names, strict=True):
            if was != name:
                allowed = f"{show(was)}, as the study calls it: further values go into an item with another name"
                problems[Problem(axis, show(name), allowed)] = None
    return list(problems)


def _names(row: TrialRow) -> tuple[str, str, str]:
    return row.workload, row.optimizer, row.schedule


def _listed(values: Iterable[object], *, quoted: bool = True) -> str:
    found = list(values)
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return ", ".join(show(value) if quoted else str(value) for value in found[:MAX_NAMED]) + more
