"""A process that the race tests start: `python -m tests.ledger.writer PLACE DEED STUDY`."""

import sys
import time

from tests.ledger.making import TTL_S, digest, new_trials, receipt
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackState


def hang():
    """Say that the transaction is under way and wait for the end."""
    print("ready", flush=True)
    time.sleep(600)


def create_half(ledger, study_id):
    def trials():
        yield from new_trials(12_000)  # more than two bulk statements
        hang()

    ledger.create_study(name="half", spec={}, spec_hash=digest("half"), trials=trials(), total=12_000)


def commit_half(ledger, study_id):
    from workers.ledger import receipts

    receipts._end_packs = lambda work, ready: hang()  # the trials are final by then, the packs not
    packs = ledger.packs(study_id, [PackState.RUNNING])
    ledger.commit_receipts(study_id, ledger.study(study_id).attempt, [receipt(pack) for pack in packs])


def race(ledger, study_id):
    print("ready", flush=True)
    sys.stdin.readline()  # all at once
    lease = ledger.acquire_lease(study_id, "run", f"process {time.monotonic_ns()}", TTL_S)
    print("won" if lease else "lost", flush=True)


if __name__ == "__main__":
    place, deed, study_id = sys.argv[1:]
    with Ledger.open(place) as ledger:
        {"create_half": create_half, "commit_half": commit_half, "race": race}[deed](ledger, study_id)
