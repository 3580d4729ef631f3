"""What is remembered of each trial while it trains: its end, its best, last and largest values, what it spent."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.science.evaluation import COLUMNS, TEST_COLUMNS
from workers.science.outcome import OPTIMUM_ABOVE_START, reason_of_end
from workers.science.training import Rows

FloatArray = NDArray[np.float64]

FLOATS = (
    "start_loss",
    "last_finite_loss",
    "max_loss",
    "max_lr_applied",
    "final_train_loss",
    *(f"final_{name}" for name in (*COLUMNS, *TEST_COLUMNS)),
    "best_train_loss",
    *(f"best_{name}" for name in COLUMNS),
    "probe_gradients",
)
COUNTS = ("train_gradients", "hvps", "end_step", "warmup_steps")
NOT_YET = -1


class History:
    """Arrays [N] over the slots, on the host; `state` is all of it."""

    def __init__(
        self,
        num_slots: int,
        never_began: Mapping[int, str] | None = None,
        least_start_loss: Mapping[int, float] | None = None,
    ) -> None:
        """`never_began`: slot -> why it ends at its first row, without an update. `least_start_loss`: slot -> the loss
        below which its first row is its last."""
        self._never_began = never_began or {}
        self._least_start_loss = least_start_loss or {}
        self.floats = {name: np.full(num_slots, np.nan) for name in FLOATS}
        self.floats["probe_gradients"][:] = 0.0
        self.counts = {name: np.zeros(num_slots, dtype=np.int64) for name in COUNTS}
        self.counts["end_step"][:] = NOT_YET
        self.counts["warmup_steps"][:] = NOT_YET
        self.reasons = [""] * num_slots

    @property
    def end_step(self) -> NDArray[np.int64]:
        """The row at which each trial ended before its budget; NOT_YET where it has not."""
        return self.counts["end_step"]

    def take_rows(self, rows: Rows, loss_limit: FloatArray) -> NDArray[np.bool_]:
        """Takes in a chunk; returns [T, N]: which rows are a trial's own (none after the one at which it ended)."""
        for slot in np.flatnonzero((self.end_step == NOT_YET) & ~rows.alive.all(axis=0)):
            row = int(np.argmin(rows.alive[:, slot]))
            loss, total = rows.values["train_loss"][row, slot], rows.values["parameter_sum"][row, slot]
            step = rows.first_step + row
            reason = self._never_began.get(int(slot)) or reason_of_end(loss, total, loss_limit[slot])
            if step == 0 and loss < self._least_start_loss.get(int(slot), -np.inf):
                reason = OPTIMUM_ABOVE_START
            self.end(int(slot), step, reason)
        step_T1 = rows.first_step + np.arange(len(rows.alive))[:, None]
        own: NDArray[np.bool_] = (self.end_step == NOT_YET) | (step_T1 <= self.end_step)
        # no update was made from the row at which a trial ended
        rows.lr[~rows.alive] = np.nan
        rows.values["update_norm"][~rows.alive] = np.nan
        self._summarize(rows, own)
        return own

    def end(self, slot: int, step: int, reason: str) -> None:
        """A trial ended before its budget, or on the last row of it."""
        self.end_step[slot] = step
        self.reasons[slot] = reason

    def take_evaluation(self, step: int, values: FloatArray) -> None:
        """Takes in [3, N] as evaluation.COLUMNS at `step`, of the trials that were still training there."""
        own = (self.end_step == NOT_YET) | (step < self.end_step)
        for name, column in zip(COLUMNS, values, strict=True):
            better = np.fmax if name.endswith("accuracy") else np.fmin
            self._keep(f"best_{name}", better, np.where(own & np.isfinite(column), column, np.nan))
        if step == 0:
            self.floats["start_loss"] = values[0].copy()

    def take_final(self, evaluated: FloatArray, tested: FloatArray) -> None:
        """Takes in the values at the end: [3, N] and, on the test set, [2, N]."""
        for name, column in zip((*COLUMNS, *TEST_COLUMNS), (*evaluated, *tested), strict=True):
            self.floats[f"final_{name}"] = column.copy()

    def spend(self, slots: Sequence[int], gradients: FloatArray, hvps: FloatArray) -> None:
        """Adds what a probe spent on these slots, gradients in training-batch gradients."""
        self.floats["probe_gradients"][list(slots)] += gradients
        self.counts["hvps"][list(slots)] += hvps.astype(np.int64)

    def state(self) -> dict[str, Any]:
        """Arrays, and one list of strings."""
        arrays = {name: array.copy() for name, array in (self.floats | self.counts).items()}
        return {**arrays, "reasons": list(self.reasons)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state` gave."""
        self.floats = {name: np.array(state[name], dtype=np.float64) for name in FLOATS}
        self.counts = {name: np.array(state[name], dtype=np.int64) for name in COUNTS}
        self.reasons = [str(reason) for reason in state["reasons"]]

    def _summarize(self, rows: Rows, own: NDArray[np.bool_]) -> None:
        loss = rows.values["train_loss"]
        finite = np.where(own & np.isfinite(loss), loss, np.nan)
        self._keep("best_train_loss", np.fmin, _reduced(np.nanmin, finite))
        self._keep("max_loss", np.fmax, _reduced(np.nanmax, finite))
        self._keep("max_lr_applied", np.fmax, _reduced(np.nanmax, np.where(own, rows.lr, np.nan)))
        self.floats["last_finite_loss"] = _last(finite, np.isfinite(finite), self.floats["last_finite_loss"])
        self.floats["final_train_loss"] = _last(loss, own, self.floats["final_train_loss"])
        self.counts["train_gradients"] += own.sum(axis=0)

    def _keep(self, name: str, better: Callable[[FloatArray, FloatArray], FloatArray], values: FloatArray) -> None:
        self.floats[name] = better(self.floats[name], values)


def _reduced(reduce: Callable[..., FloatArray], values: FloatArray) -> FloatArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN reduces to NaN, as meant
        return reduce(values, axis=0)


def _last(values: FloatArray, chosen: NDArray[np.bool_], otherwise: FloatArray) -> FloatArray:
    """By column the last chosen value, `otherwise` where none is."""
    last_row = len(values) - 1 - np.argmax(chosen[::-1], axis=0)
    picked = np.take_along_axis(values, last_row[None, :], axis=0)[0]
    return np.where(chosen.any(axis=0), picked, otherwise)
