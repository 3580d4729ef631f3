"""Turns publications into runs, found or created by key: the same publication again changes nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence

from workers.tracking.batching import batches
from workers.tracking.names import (
    COUNT_TAG,
    EXECUTION_TAG,
    INFINITE_TAG,
    KEY_TAG,
    MAX_EXPERIMENT_TAG_LENGTH,
    MAX_PARAM_LENGTH,
    MAX_TAG_LENGTH,
    NOTE_TAG,
    PARENT_TAG,
    STUDY_TAG,
    fit_key,
    fit_text,
)
from workers.tracking.port import Experiment, FoundRun, PublicationRefused, Tracker, TrackerUnavailable
from workers.tracking.publications import (
    Acknowledgement,
    MetricPoint,
    ParentPublication,
    StudyPublication,
    StudyRuns,
    TrialPublication,
)

RUNNING = "RUNNING"
SHORT_ID_LENGTH = 8
SPEC_ARTIFACT = "study.json"


class Publisher:
    """Publishes one study into one tracker.

    MLflow has no unique constraint on runs: that a key has one run rests on there being one publisher at a time, which
    is the caller's fence. Not thread-safe.

    Errors of all methods: TrackerUnavailable (try again) and PublicationRefused (do not).
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._study: StudyRuns | None = None
        self._study_key = ""
        self._is_new = False
        self._runs: dict[str, FoundRun] | None = None
        self._perhaps_created: set[str] = set()
        """Keys whose creation got no answer: their run may exist all the same."""

    def ensure_study(self, study: StudyPublication) -> StudyRuns:
        """The study's experiment (`NAME-SHORTID`) and parent run, found or created."""
        self._study_key = study.study_id
        experiment, name = self._experiment(study)
        found = _best(self._tracker.find_runs(experiment.experiment_id, study.study_id))
        if found is None:
            # Said before the attempt: its answer may be lost, and the run found by the next one is new all the same.
            self._is_new = True
            tags = {**study.tags, KEY_TAG: study.study_id, STUDY_TAG: study.study_id}
            run_id = self._tracker.create_run(experiment.experiment_id, name, study.epoch_ms, dict(_tags(tags)))
        else:
            run_id = found.run_id
        self._tracker.upload_text(run_id, study.spec_json, SPEC_ARTIFACT)
        # Nothing can be a child of a parent that was not there: no run needs to be looked for.
        self._runs = {} if self._is_new else None
        self._study = StudyRuns(experiment.experiment_id, name, run_id, created=self._is_new)
        return self._study

    def is_wiped(self) -> bool:
        """Whether the run of the study itself, found or made by `ensure_study`, is in the tracker no more."""
        study = self._ensured()
        try:
            found = self._tracker.find_runs(study.experiment_id, self._study_key)
        except PublicationRefused:
            return True
        return study.parent_run_id not in {run.run_id for run in found}

    def find_study(self, study: StudyPublication) -> str | None:
        """The id of the study's experiment, or None; makes nothing."""
        for name in _names(study):
            experiment = self._tracker.find_experiment(name)
            if experiment is not None and experiment.tags.get(STUDY_TAG) == study.study_id:
                return experiment.experiment_id
        return None

    def publish_trial(self, publication: TrialPublication) -> Acknowledgement:
        """Send what is missing of one trial (or cell), and say what is there now.

        No call is made where `publication.acknowledged` already covers it. Points that were sent but not acknowledged
        are sent again and kept once, because all of a point's primary key comes from the point.
        """
        known = publication.acknowledged
        if known is not None and (known.ended or not (publication.points or publication.status)):
            return known
        run = None if known else self._find(publication.key)
        if run is not None and _has_other_bits(run, publication):
            self._discard(run)
            run = None
        acknowledged = known.num_points if known else 0
        num_points = acknowledged + len(publication.points)
        if run is not None and _is_whole(run, publication, num_points):
            return Acknowledgement(publication.key, run.run_id, num_points, ended=True)
        run_id = known.run_id if known else run.run_id if run else self._create(publication, num_points)
        self._send(run_id, publication, with_params=known is None or publication.status is not None)
        return Acknowledgement(publication.key, run_id, num_points, ended=publication.status is not None)

    def publish_parent(self, publication: ParentPublication) -> Acknowledgement:
        """Report, figures and headline numbers to the parent run; the note to it and to the experiment."""
        study = self._ensured()
        run_id = study.parent_run_id
        headline = _headline_points(publication.metrics, publication.metrics_step, publication.epoch_ms)
        points, infinite_tags = _without_infinite(headline)
        tags = {**publication.tags, **infinite_tags}
        if publication.note:
            tags[NOTE_TAG] = publication.note
            note = fit_text(publication.note, MAX_EXPERIMENT_TAG_LENGTH)
            self._tracker.set_experiment_tag(study.experiment_id, NOTE_TAG, note)
        for artifact in publication.artifacts:
            self._tracker.upload(run_id, artifact.path, artifact.folder)
        for batch in batches(points, self._params(run_id, publication.params), _tags(tags)):
            self._tracker.log(run_id, batch)
        if publication.status is not None:
            self._tracker.end_run(run_id, publication.status, publication.end_time_ms or publication.epoch_ms)
        return Acknowledgement(publication.key, run_id, ended=publication.status is not None)

    def discard_duplicates(self, acknowledged: Mapping[str, str]) -> int:
        """Delete runs whose key has another run, and say how many; `acknowledged` maps key -> the run to keep.

        For after a takeover: a replaced publisher may have created one more run than it was able to acknowledge.
        """
        found_runs = _by_key(self._tracker.find_runs(self._ensured().experiment_id))
        surplus = [run for key, runs in found_runs.items() for run in _surplus(runs, acknowledged.get(key))]
        for run in surplus:
            self._tracker.discard_run(run.run_id)
        return len(surplus)

    def _experiment(self, study: StudyPublication) -> tuple[Experiment, str]:
        tags = {STUDY_TAG: study.study_id}
        name, longer_name = _names(study)
        experiment = self._tracker.find_or_create_experiment(name, tags)
        if experiment.tags.get(STUDY_TAG) != study.study_id:  # the name is another's, by chance or by a person's choice
            name = longer_name
            experiment = self._tracker.find_or_create_experiment(name, tags)
        return experiment, name

    def _find(self, key: str) -> FoundRun | None:
        experiment_id = self._ensured().experiment_id
        if self._runs is None:
            # One search page by page for all keys: one search per key would cost more from 20 % unknown keys on.
            found_runs = _by_key(self._tracker.find_runs(experiment_id))
            self._runs = {found_key: min(runs, key=_preference) for found_key, runs in found_runs.items()}
        if key in self._perhaps_created:
            found = _best(self._tracker.find_runs(experiment_id, key))
            self._perhaps_created.discard(key)
            if found is not None:
                self._runs[key] = found
        return self._runs.get(key)

    def _create(self, publication: TrialPublication, num_points: int) -> str:
        study = self._ensured()
        tags = {
            **publication.tags,
            KEY_TAG: publication.key,
            PARENT_TAG: study.parent_run_id,
        }
        if publication.status is not None:
            tags[COUNT_TAG] = str(num_points)
        start_time_ms = publication.start_time_ms or publication.epoch_ms
        fitted = dict(_tags(tags))
        try:
            run_id = self._tracker.create_run(study.experiment_id, publication.name, start_time_ms, fitted)
        except TrackerUnavailable:
            self._perhaps_created.add(publication.key)
            raise
        assert self._runs is not None  # _find was there before
        # Sent again before it is acknowledged, it must be found: as RUNNING, so that all its points are sent again.
        self._runs[publication.key] = FoundRun(run_id, publication.key, RUNNING, fitted)
        return run_id

    def _discard(self, run: FoundRun) -> None:
        self._tracker.discard_run(run.run_id)
        assert self._runs is not None  # _find was there before
        self._runs.pop(run.key, None)

    def _send(self, run_id: str, publication: TrialPublication, *, with_params: bool) -> None:
        points, tags = points_to_send(publication)
        params = self._params(run_id, publication.params) if with_params else []
        for batch in batches(points, params, _tags(tags)):
            self._tracker.log(run_id, batch)
        if publication.status is not None:
            last_ms = max((point.timestamp_ms for point in points), default=publication.epoch_ms)
            self._tracker.end_run(run_id, publication.status, publication.end_time_ms or last_ms)

    def _params(self, run_id: str, params: Mapping[str, object]) -> list[tuple[str, str]]:
        fitted = []
        for name, value in params.items():
            if value is None or value == "":
                continue  # not known yet: once sent, it could never be filled in
            text, key = str(value), fit_key(name)
            if len(text) > MAX_PARAM_LENGTH:
                self._tracker.upload_text(run_id, text, f"long_params/{key}.txt")
            fitted.append((key, fit_text(text, MAX_PARAM_LENGTH)))
        return fitted

    def _ensured(self) -> StudyRuns:
        assert self._study is not None, "ensure_study comes first"
        return self._study


def points_to_send(publication: TrialPublication) -> tuple[list[MetricPoint], dict[str, str]]:
    """The points of a trial, those of its end included, and the tags that say what was left out."""
    points = list(publication.points)
    if publication.status is not None:
        points += _headline_points(publication.headline, publication.headline_step, publication.epoch_ms)
    return _without_infinite(points)


def _names(study: StudyPublication) -> tuple[str, str]:
    """The experiment's name, and the one that it has where that is another's."""
    return f"{study.name}-{study.study_id[:SHORT_ID_LENGTH]}", f"{study.name}-{study.study_id}"


def _is_whole(run: FoundRun, publication: TrialPublication, num_points: int) -> bool:
    # The status is set last, so with the count that was known at creation it vouches for all points.
    return run.status == publication.status and run.tags.get(COUNT_TAG) == str(num_points)


def _has_other_bits(run: FoundRun, publication: TrialPublication) -> bool:
    before, now = run.tags.get(EXECUTION_TAG), publication.tags.get(EXECUTION_TAG)
    return bool(before and now) and before != now


def _best(runs: Sequence[FoundRun]) -> FoundRun | None:
    return min(runs, key=_preference, default=None)


def _by_key(runs: Iterable[FoundRun]) -> dict[str, list[FoundRun]]:
    grouped: dict[str, list[FoundRun]] = {}
    for run in runs:
        grouped.setdefault(run.key, []).append(run)
    return grouped


def _preference(run: FoundRun) -> tuple[bool, str]:
    return run.status == RUNNING, run.run_id  # the same choice in every process: ended ones first, then by id


def _surplus(runs: list[FoundRun], acknowledged_run_id: str | None) -> list[FoundRun]:
    kept = next((run for run in runs if run.run_id == acknowledged_run_id), None) or min(runs, key=_preference)
    return [run for run in runs if run is not kept]


def _headline_points(values: Mapping[str, float], step: int, epoch_ms: int) -> list[MetricPoint]:
    return [MetricPoint(key, float(value), step, epoch_ms + step) for key, value in values.items()]


def _without_infinite(points: Sequence[MetricPoint]) -> tuple[list[MetricPoint], dict[str, str]]:
    kept = [point for point in points if not math.isinf(point.value)]
    # Tags per metric, so that parts of a stream do not overwrite what was said of another metric.
    tags = {INFINITE_TAG + point.key: f"{point.value} left out" for point in points if math.isinf(point.value)}
    return kept, tags


def _tags(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(fit_key(key), fit_text(str(value), MAX_TAG_LENGTH)) for key, value in tags.items()]
