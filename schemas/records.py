"""The columns of every table, with unit and meaning: the only list. Nobody types a column's name twice."""

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["string", "int64", "float64", "bool", "timestamp"]


@dataclass(frozen=True)
class Column:
    """One column of a table that leaves this program."""

    name: str
    type: ColumnType
    meaning: str
    unit: str = ""


def _columns(*rows: tuple[str, ColumnType, str] | tuple[str, ColumnType, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


METRICS_FINAL = (
    "train_loss",
    "train_eval_loss",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
)
METRICS_BEST = METRICS_FINAL[:4]
_LOSS = "of the loss (nats for cross_entropy)"
METRIC_UNITS = {name: "fraction" if name.endswith("accuracy") else _LOSS for name in METRICS_FINAL}

STEPS = _columns(
    ("trial_id", "string", "which trial"),
    ("step", "int64", "updates already made when this row was read", "updates"),
    ("lr", "float64", "rate of the update made from here, read back from the optimizer's state"),
    ("train_loss", "float64", "loss of the training batch at these parameters", _LOSS),
    ("gradient_norm", "float64", "2-norm of the gradient at these parameters, before clipping"),
    ("update_norm", "float64", "2-norm of the update made from here"),
)
EVALUATIONS = _columns(
    ("trial_id", "string", "which trial"),
    ("step", "int64", "updates already made", "updates"),
    ("train_eval_loss", "float64", "loss on the fixed evaluation part of the training set", _LOSS),
    ("validation_loss", "float64", "loss on the validation set", _LOSS),
    ("validation_accuracy", "float64", "share of the validation set classified right", "fraction"),
)
PROBES = _columns(
    ("trial_id", "string", "which trial"),
    ("step", "int64", "updates already made", "updates"),
    ("probe", "string", "the probe's name, or name.point where it reads several points"),
    ("value", "float64", "the estimate"),
    (
        "error",
        "float64",
        "its error: residual of a Ritz pair, rounding, noise or standard error; NaN where there is none",
    ),
    ("lower", "float64", "lower end over the probe batches"),
    ("upper", "float64", "upper end over the probe batches"),
    ("converged", "bool", "whether it may be relied on: error <= relative_tolerance x |value|, or its kind's own test"),
    ("num_gradients", "int64", "gradients spent", "gradients"),
    ("num_hvps", "int64", "Hessian-vector products spent", "HVPs"),
    ("batch_id", "string", "which fixed set of probe batches"),
    ("batch_size", "int64", "examples in each probe batch", "examples"),
    ("loss", "float64", "loss on the probe batch", _LOSS),
    ("gradient_norm", "float64", "2-norm of the gradient on the probe batch"),
    ("step_norm", "float64", "2-norm of the update made from here (NaN where not part of the probe)"),
    ("lr", "float64", "rate of the update made from here"),
)
EVENTS = _columns(
    ("trial_id", "string", "which trial"),
    ("step", "int64", "updates already made", "updates"),
    (
        "kind",
        "string",
        "peak_lr_resolved, rate_search, diverged, stopped, warmup_ended, gap_clamped, step_bounded; in a result folder"
        " also loss_spike, threshold_crossed, catapult, progressive_sharpening, edge_of_stability, regime (found in"
        " the rows of steps and probes)",
    ),
    ("values", "string", "strict JSON, non-finite numbers as strings"),
)
TIMINGS = _columns(
    ("trial_id", "string", "which trial"),
    ("phase", "string", "train, evaluate, probe:NAME, record, checkpoint"),
    ("seconds", "float64", "the trial's share of its pack's wall time in this phase", "s"),
)
TRIALS = _columns(
    ("trial_id", "string", "hash of what can change the trial's numbers"),
    ("cell_id", "string", "the same without the seed"),
    ("workload", "string", "name"),
    ("model", "string", "kind of the model, or of the analytic function"),
    ("dataset", "string", "kind of the data set; empty for an analytic function"),
    ("optimizer", "string", "name"),
    ("schedule", "string", "name"),
    ("peak_lr", "float64", "peak learning rate"),
    ("lr_multiple", "float64", "peak_lr as a multiple of 1/sharpness at the start; NaN where stated directly"),
    (
        "warmup_steps",
        "int64",
        "updates of warmup (asymptotic: up to 0.99; closed loop: realised); -1 where it never ended",
        "updates",
    ),
    ("seed", "string", "i, or initialization-data_order-noise"),
    ("state", "string", "queued, running, done, cancelled, errored"),
    ("outcome", "string", "trained, stalled, diverged; empty while not done"),
    ("outcome_step", "int64", "where it diverged or stopped; -1 where neither", "updates"),
    ("reason", "string", "why it ended"),
    ("steps_completed", "int64", "updates made", "updates"),
    ("start_loss", "float64", "loss on the fixed evaluation set before the first update", _LOSS),
    ("reference_loss", "float64", "loss of the best constant answer", _LOSS),
    *((f"final_{name}", "float64", f"{name} at the end", METRIC_UNITS[name]) for name in METRICS_FINAL),
    *((f"best_{name}", "float64", f"best {name} along the run", METRIC_UNITS[name]) for name in METRICS_BEST),
    ("max_loss", "float64", "largest finite training loss", _LOSS),
    ("max_lr_applied", "float64", "largest rate applied"),
    ("steps_to_target", "int64", "first row that meets the target; -1 where missed", "updates"),
    ("gradients", "float64", "gradients spent, in training-batch gradients", "gradients"),
    ("hvps", "int64", "Hessian-vector products spent", "HVPs"),
    ("forward_passes", "int64", "losses of updates that its closed loop tried, in gradients too (1/3 each)", "passes"),
    ("schedule_knew", "string", "what its closed loop was told, or read beyond the loss; empty for an open loop"),
    ("pack_id", "string", "the pack it trained in"),
    ("slot", "int64", "its place in the pack"),
    ("device", "string", "device class"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "trials": TRIALS,
    "steps": STEPS,
    "evaluations": EVALUATIONS,
    "probes": PROBES,
    "events": EVENTS,
    "timings": TIMINGS,
}
PACK_TABLES = ("steps", "evaluations", "probes", "events", "timings")
"""The tables that trainers write; `trials` is made from the ledger."""


def names(table: str) -> tuple[str, ...]:
    """The column names of `table`, in order."""
    return tuple(column.name for column in TABLES[table])
