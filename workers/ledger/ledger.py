"""The ledger's door: one object with every question and every write. What each does is said where it is written.

with Ledger.open(home) as ledger:
    study = ledger.create_study(name=..., spec=..., spec_hash=..., trials=..., total=...)
    lease = ledger.acquire_lease(study.id, "run", owner, ttl_s=30)
    ledger.write_plan(study.id, 0, packs, lease.fence, "cpu")
    ledger.start_packs(study.id, [pack_id], lease.fence)
    ledger.commit_receipts(study.id, lease.fence, [receipt])
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from workers.ledger import (
    catalog,
    continuing,
    facts,
    idempotency,
    keys,
    leases,
    listing,
    plans,
    publications,
    queue,
    reading,
    receipts,
    rounds,
    settling,
    studies,
    submitting,
    trial_pages,
)
from workers.ledger import packs as pack_life
from workers.ledger.opening import open_engine
from workers.ledger.place import resolve
from workers.ledger.store import Store


class Ledger(Store):
    """An open ledger; may be shared by threads. Each process opens its own."""

    @classmethod
    def open(cls, place: Path | str, *, create: bool = True) -> Self:
        """Open the ledger of a folder, of a file `*.sqlite`, or at a database URL; make or migrate it where needed.

        Raises:
            PlaceError: it cannot be used, is another program's, or was written by a newer version.
        """
        resolved = resolve(place)
        return cls(open_engine(resolved, create=create), resolved)

    @property
    def url(self) -> str:
        """What another process opens the same ledger with (a server's password included: do not print it)."""
        return self.place.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    publish_dataset = catalog.publish_dataset
    dataset = catalog.dataset
    datasets = catalog.datasets
    timings = catalog.timings

    records_token = facts.records_token
    remember_calibration = facts.remember_calibration
    calibration = facts.calibration
    plugin_manifest = facts.plugin_manifest
    set_plugin_manifest = facts.set_plugin_manifest

    create_study = submitting.create_study
    replayed = idempotency.replayed
    replayed_extension = idempotency.replayed_extension
    usage = submitting.usage
    usage_of_study = submitting.usage_of_study
    append_round = rounds.append_round
    study = studies.study
    study_head = studies.study_head_of
    find_study = studies.find_study
    study_by_spec_hash = studies.study_by_spec_hash
    list_studies = listing.list_studies
    studies_by_state = listing.studies_by_state
    steps_of_round = rounds.steps_of_round
    rounds = rounds.study_rounds
    set_study_state = studies.set_study_state
    set_publishing = studies.set_publishing
    cancel_remaining = studies.cancel_remaining
    continue_study = continuing.continue_study
    change_budget = continuing.change_budget
    extend_study = continuing.extend_study

    create_key = keys.create_key
    key_by_secret = keys.key_by_secret
    list_keys = keys.list_keys
    revoke_key = keys.revoke_key

    acquire_lease = leases.acquire_lease
    renew_lease = leases.renew_lease
    release_lease = leases.release_lease
    lease = leases.lease
    request_cancel = leases.request_cancel
    cancel_requested = leases.cancel_requested
    claimable = queue.claimable
    num_running = queue.num_running
    claim = queue.claim
    held_leases = queue.held_leases
    abandoned = queue.abandoned
    explain_waiting = queue.explain_waiting
    behind = queue.behind
    settle_abandoned = settling.settle_abandoned

    has_plan = plans.has_plan
    find_reusable = plans.find_reusable
    may_be_all_reused = plans.may_be_all_reused
    write_plan = plans.write_plan
    replan = plans.replan

    start_packs = pack_life.start_packs
    record_progress = pack_life.record_progress
    requeue_packs = pack_life.requeue_packs
    fail_pack = pack_life.fail_pack
    compacted = pack_life.compacted
    commit_receipts = receipts.commit_receipts

    counts = reading.counts
    trials = reading.study_trials
    trials_page = trial_pages.trials_page
    trial_holders = trial_pages.trial_holders
    trials_by_id = reading.trials_by_id
    trial_attempts = reading.trial_attempts
    packs = reading.study_packs
    packs_by_id = reading.packs_by_id
    manifests = reading.manifests
    events = reading.study_events
    last_event_seq = reading.last_event_seq
    standings = reading.standings
    schema_is_current = reading.schema_is_current
    why_behind = reading.why_behind

    publication = publications.publication
    record_publication = publications.record_publication
    record_publications = publications.record_publications
    unpublished = publications.unpublished
    final_publications = publications.final_publications
    forget_publications = publications.forget_publications
