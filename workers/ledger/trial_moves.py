"""Moving many trials of a study at once, and the study's counts with them."""

from typing import Any

from sqlalchemy import and_, func, select, update

from schemas.trials import TrialState
from workers.ledger.store import StudyWrite, sources
from workers.ledger.tables import NEWEST, trials


def move_trials(work: StudyWrite, which: Any, target: TrialState, **values: Any) -> int:
    """Move the newest attempts among `which` that may become `target`; returns their number.

    `which` lies within the study: by its id, or by the packs of its plan (what other studies have in them is done, and
    does not move). `values` are the columns that change along.
    """
    movable = and_(which, NEWEST, trials.c.state.in_(sources(target)))
    by_state = select(trials.c.state, func.count(), func.sum(trials.c.steps)).where(movable).group_by(trials.c.state)
    num_trials = 0
    for state, number, steps in work.connection.execute(by_state).all():
        work.counts.leave(TrialState(state), number, int(steps))
        work.counts.enter(target, number, int(steps))
        num_trials += number
    if num_trials:
        work.connection.execute(update(trials).where(movable).values(state=target, **values))
    return num_trials
