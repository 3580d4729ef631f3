"""A process that the live tests start: it commits so many events, then ends the study.

python -m tests.service.event_storm PLACE STUDY NUMBER
"""

import random
import sys

from schemas.trials import TrialState
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind


def commit(ledger, study_id, number, seed=0):
    """`number` events in commits of one to nine."""
    sizes = random.Random(seed)
    made = 0
    while made < number:
        with ledger.write_study(study_id) as work:
            for _ in range(min(sizes.randint(1, 9), number - made)):
                made += 1
                work.event(EventKind.PUBLISHING, publishing="behind", made=made)


def finish(ledger, study_id):
    ledger.set_study_state(study_id, TrialState.CANCELLED, reason="enough")


if __name__ == "__main__":
    place, study_id, number = sys.argv[1:]
    with Ledger.open(place) as ledger:
        commit(ledger, study_id, int(number))
        finish(ledger, study_id)
