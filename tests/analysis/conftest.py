"""Result folders with a planted truth, made from a formula instead of by training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import records

START_LOSS, REFERENCE_LOSS = 2.45, math.log(10)
_ARROW = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}


@dataclass(frozen=True)
class Planted:
    """The truth of one schedule: the final loss at its best rate, where that is, and where training breaks."""

    floor: float
    best_rate: float
    stalls_above: float
    diverges_above: float
    warmup_steps: int = 0

    def loss(self, rate: float) -> float:
        """The final loss at `rate` without noise: a parabola in log rate."""
        return self.floor * (1 + 0.35 * math.log10(rate / self.best_rate) ** 2)


@dataclass
class SyntheticStudy:
    """A study whose results follow from `planted`: (optimizer, schedule) -> truth."""

    planted: Mapping[tuple[str, str], Planted]
    rates: Mapping[str, tuple[float, ...]]
    seeds: int = 5
    noise: float = 0.004
    shared_noise: float = 0.01
    total_steps: int = 400
    probe_every: int = 20
    margin: float | None = 0.01
    baseline: str | None = "none"
    target: float | None = 0.2
    names: tuple[str, str] = ("digits-mlp", "digits-mlp-warmup")
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in records.TABLES})

    def spec(self) -> dict[str, Any]:
        """The resolved spec, as study.yaml holds it."""
        optimizers = list(dict.fromkeys(optimizer for optimizer, _ in self.planted))
        schedules = list(dict.fromkeys(schedule for _, schedule in self.planted))
        return {
            "schema_version": 1,
            "name": self.names[1],
            "description": "Does warmup buy a larger usable peak learning rate?",
            "workloads": [{"name": self.names[0], "task": "classification", "budget": {"steps": self.total_steps}}],
            "optimizers": [
                {"name": name, "kind": name, "momentum": 0.9, "peak_lrs": {"values": list(self.rates[name])}}
                for name in optimizers
            ],
            "schedules": [{"name": name, "warmup": {"kind": "linear"}} for name in schedules],
            "seeds": {"count": self.seeds},
            "probes": [
                {"name": "secant_smoothness", "kind": "secant_smoothness", "every_steps": self.probe_every},
                {"name": "sharpness", "kind": "sharpness", "every_steps": self.probe_every},
            ],
            "analysis": {
                "compare": "schedule",
                "baseline": self.baseline,
                "tuned": ["peak_lr"],
                "metric": "validation_loss",
                "target": self.target,
                "equivalence_margin": self.margin,
                "confidence": 0.95,
            },
        }

    def build(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Write the tables; returns the folder and the spec."""
        random = np.random.default_rng(0)
        by_seed = self.shared_noise * random.standard_normal(self.seeds)
        for (optimizer, schedule), truth in self.planted.items():
            for rate in self.rates[optimizer]:
                for seed in range(self.seeds):
                    level = by_seed[seed] + self.noise * random.standard_normal()
                    self._add_trial(random, optimizer, schedule, truth, rate, seed, level)
        write_tables(folder, self.rows)
        return folder, self.spec()

    def _add_trial(
        self,
        random: np.random.Generator,
        optimizer: str,
        schedule: str,
        truth: Planted,
        rate: float,
        seed: int,
        level: float,
    ) -> None:
        outcome = "diverged" if rate > truth.diverges_above else "stalled" if rate > truth.stalls_above else "trained"
        final = {"trained": truth.loss(rate) + level, "stalled": 2.30, "diverged": math.nan}[outcome]
        end = self.total_steps if outcome != "diverged" else self.total_steps // 3
        trial_id = f"{optimizer}/{schedule}/{rate:g}/{seed}"
        losses = self._add_curves(random, trial_id, truth, rate, final, end)
        reached = np.flatnonzero(losses <= self.target)[:1] if self.target is not None and outcome == "trained" else ()
        self.rows["trials"].append(
            trial_row(
                trial_id=trial_id,
                cell_id=f"{optimizer}/{schedule}/{rate:g}",
                workload=self.names[0],
                optimizer=optimizer,
                schedule=schedule,
                peak_lr=rate,
                seed=str(seed),
                outcome=outcome,
                outcome_step=end if outcome == "diverged" else -1,
                steps_completed=end,
                warmup_steps=truth.warmup_steps,
                final_validation_loss=final,
                steps_to_target=int(reached[0]) if len(reached) else -1,
                gradients=1.2 * end,
                hvps=5 * (end // self.probe_every),
            )
        )
        self.rows["timings"].append({"trial_id": trial_id, "phase": "train", "seconds": 0.01 * end})

    def _add_curves(
        self,
        random: np.random.Generator,
        trial_id: str,
        truth: Planted,
        rate: float,
        final: float,
        end: int,
    ) -> np.ndarray:
        step = np.arange(end)
        speed = 8 * (rate / truth.best_rate) ** 0.3 / self.total_steps
        warmup = np.minimum(1, (step + 1) / max(1, truth.warmup_steps))
        lr = rate * warmup * 0.5 * (1 + np.cos(np.pi * step / self.total_steps))
        floor = final if math.isfinite(final) else START_LOSS
        losses = (floor + (START_LOSS - floor) * np.exp(-speed * step)) * np.exp(0.05 * random.standard_normal(end))
        if not math.isfinite(final):
            losses = START_LOSS * np.exp(step / 8)
        for index in range(end):
            row = {"trial_id": trial_id, "step": index, "lr": lr[index], "train_loss": losses[index]}
            self.rows["steps"].append(row)
        for index in range(0, end, self.probe_every):
            loss = float(losses[index])
            sharpness = min(40 + 20 * index / self.total_steps, 3.6 / max(lr[index], 1e-9))
            common = {"trial_id": trial_id, "step": index, "loss": loss, "lr": lr[index], "batch_size": 64}
            secant = 3 + 12 * loss * float(np.exp(0.2 * random.standard_normal()))
            for probe, value, hvps, gradients in (("sharpness", sharpness, 5, 0), ("secant_smoothness", secant, 0, 2)):
                spent = {"num_hvps": hvps, "num_gradients": gradients, "converged": hvps == 0 or index % 200 != 0}
                self.rows["probes"].append({**common, **spent, "probe": probe, "value": value})
        return losses


def trial_row(**said: Any) -> dict[str, Any]:
    """A done trial with what is said of it; the rest as a finished trial would have it."""
    common = {
        "model": "mlp",
        "dataset": "digits",
        "lr_multiple": math.nan,
        "state": "done",
        "outcome": "trained",
        "outcome_step": -1,
        "reason": "budget",
        "start_loss": START_LOSS,
        "reference_loss": REFERENCE_LOSS,
        "steps_to_target": -1,
        "pack_id": "p",
        "slot": 0,
        "device": "cpu",
    }
    return common | said


def write_tables(folder: Path, rows: Mapping[str, list[dict[str, Any]]]) -> Path:
    """Each non-empty table as Parquet, columns in the order of schemas.records, swept paths after them."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, entries in rows.items():
        if not entries and table != "trials":
            continue
        fields = [(column.name, _ARROW[column.type]) for column in records.TABLES[table]]
        swept = sorted({name for row in entries for name in row if "." in name})
        columns = {name: pa.array([row.get(name) for row in entries], type) for name, type in fields}
        columns |= {name: pa.array([row.get(name) for row in entries]) for name in swept}
        pq.write_table(pa.table(columns), folder / f"{table}.parquet")
    return folder


def quickstart_like(**changes: Any) -> SyntheticStudy:
    """280 trials: linear-80 is the planted winner, linear-20 the planted tie, convex-80 usable furthest."""
    sgd = tuple(float(f"{rate:.12g}") for rate in np.geomspace(3e-3, 3, 7))
    adamw = tuple(float(f"{rate:.12g}") for rate in np.geomspace(3e-4, 0.3, 7))
    planted = {
        ("sgd", "none"): Planted(0.150, 0.1, 0.1, 0.3),
        ("sgd", "linear-20"): Planted(0.150, 0.1, 0.3, 0.95, 20),
        ("sgd", "linear-80"): Planted(0.110, 0.3, 0.95, 3.5, 80),
        ("sgd", "convex-80"): Planted(0.147, 1.0, 3.5, 9.0, 80),
        ("adamw", "none"): Planted(0.120, 0.01, 0.03, 0.1),
        ("adamw", "linear-20"): Planted(0.119, 0.01, 0.03, 0.1, 20),
        ("adamw", "linear-80"): Planted(0.140, 0.01, 0.1, 0.2, 80),
        ("adamw", "convex-80"): Planted(0.113, 0.01, 0.1, 0.2, 80),
    }
    return SyntheticStudy(planted, {"sgd": sgd, "adamw": adamw}, **changes)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and spec of `quickstart_like`, with short curves."""
    study = quickstart_like(total_steps=60, probe_every=20)
    return study.build(tmp_path_factory.mktemp("quickstart"))


@pytest.fixture(scope="session")
def make_study() -> Callable[..., SyntheticStudy]:
    """`quickstart_like`, for tests that change it."""
    return quickstart_like


@pytest.fixture
def write_folder() -> Callable[[Path, Mapping[str, list[dict[str, Any]]]], Path]:
    """`write_folder(path, {table: rows})`."""
    return write_tables


@pytest.fixture
def write_trials(tmp_path: Path) -> Callable[[list[dict[str, Any]]], Path]:
    """Writes a folder that has trials alone: `write_trials([row(...), ...])`."""
    return lambda rows: write_tables(tmp_path / "folder", {"trials": [trial_row(**row) for row in rows]})


@pytest.fixture
def small_spec() -> dict[str, Any]:
    """A resolved spec for hand-made trials: workload `w`, optimizer `o`, schedules `none` (baseline) and `warm`."""
    return {
        "name": "by-hand",
        "workloads": [{"name": "w", "task": "classification"}],
        "optimizers": [{"name": "o", "kind": "sgd", "momentum": 0.0}],
        "schedules": [{"name": "none"}, {"name": "warm"}],
        "analysis": {"baseline": "none", "metric": "validation_loss", "target": None, "equivalence_margin": 0.05},
    }


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    """`make_row("warm", 0.1, seed, loss)`: a trial of `small_spec`."""

    def make(schedule: str, peak_lr: float, seed: int | str, loss: float | None = None, **said: Any) -> dict[str, Any]:
        common = {
            "trial_id": f"{schedule}/{peak_lr:g}/{seed}/{said.get('optimizer.weight_decay', '')}",
            "workload": "w",
        }
        common |= {"optimizer": "o", "schedule": schedule, "peak_lr": peak_lr, "seed": str(seed), "steps_completed": 10}
        return {**common, "final_validation_loss": loss, **said}

    return make
