"""What becomes of a study whose driver is gone: queued again, cancelled, or given up."""

from sqlalchemy import and_, exists, select

from schemas.trials import TrialState
from workers.ledger.leases import UNDER_WAY
from workers.ledger.packs import requeue_running
from workers.ledger.store import Store
from workers.ledger.studies import move_study
from workers.ledger.tables import leases


def settle_abandoned(ledger: Store, study_id: str, state: TrialState, reason: str) -> bool:
    """Move a study that nobody launches or drives to `queued`, `cancelled` or `errored`, and queue again what it ran.

    Raises the fence: a driver of it that comes back to life writes nothing more. False, and nothing is changed:
    somebody has it, or it is final, or queued already and stays so.
    """
    with ledger.write_study(study_id) as work:
        present = TrialState(work.study.state)
        held = and_(leases.c.study_id == study_id, leases.c.kind.in_(UNDER_WAY), leases.c.expires_ms > work.now_ms)
        if present.is_final or present is state or work.connection.execute(select(exists().where(held))).scalar_one():
            return False
        work.change(attempt=work.study.attempt + 1)
        requeue_running(work, None, reason)
        move_study(work, state, reason)
        return True
