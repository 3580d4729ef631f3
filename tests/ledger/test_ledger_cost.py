"""What a trial costs does not grow with the number of trials: counted in SQLite's own instructions, not in seconds."""

import pytest
from sqlalchemy import event

from tests.ledger.making import drive, finish, new_trials, packs_of
from workers.ledger.ledger import Ledger

SMALL, LARGE = 320, 3_200
PACK_SIZE = 32


def instructions_per_trial(home, number):
    """Instructions of SQLite's virtual machine per trial: creating, planning, starting and committing."""
    counted = [0]

    def count():
        counted[0] += 1

    with Ledger.open(home) as ledger:

        @event.listens_for(ledger.engine, "begin")
        def watch(connection):
            connection.connection.driver_connection.set_progress_handler(count, 100)

        study = ledger.create_study(name="x", spec={}, spec_hash="h", trials=new_trials(number), total=number)
        fence = drive(ledger, study.id)
        packs = packs_of(study.id, new_trials(number), PACK_SIZE)
        ledger.write_plan(study.id, 0, packs, fence, "cpu")
        planned = counted[0]
        for pack in packs:
            finish(ledger, study.id, fence, [pack.pack_id])
    return 100 * planned / number, 100 * (counted[0] - planned) / number


def test_cost_per_trial_is_the_same_for_ten_times_as_many(tmp_path):
    small, large = (instructions_per_trial(tmp_path / str(number), number) for number in (SMALL, LARGE))
    assert large == pytest.approx(small, rel=0.2)
