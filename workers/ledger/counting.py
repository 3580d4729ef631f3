"""How a study's counts follow its trials: changes add up, and are written by the transaction that moves the trials."""

from collections import Counter
from typing import Any

from schemas.trials import Outcome, TrialState
from workers.ledger.tables import studies


class Counts:
    """The changes of one transaction to the counts of one study."""

    def __init__(self) -> None:
        self._added: Counter[str] = Counter()

    def enter(self, state: TrialState, number: int, steps: int, outcome: Outcome | None = None) -> None:
        """`number` trials, of together `steps` updates, are in `state` from now on."""
        self._add(state, number, steps, outcome)

    def leave(self, state: TrialState, number: int, steps: int) -> None:
        """`number` trials, of together `steps` updates, are no longer in `state`, or no longer count."""
        self._add(state, -number, -steps, None)

    def added(self, *names: TrialState) -> int:
        """By how many the trials in these states have become more."""
        return sum(self._added[f"num_{name}"] for name in names)

    def values(self) -> dict[str, Any]:
        """Column of `studies` -> its new value, as SQL."""
        return {column: studies.c[column] + number for column, number in self._added.items() if number}

    def _add(self, state: TrialState, number: int, steps: int, outcome: Outcome | None) -> None:
        self._added[f"num_{state}"] += number
        if outcome is not None:
            self._added[f"num_{outcome}"] += number
        if not state.is_final:
            self._added["steps_unfinished"] += steps
