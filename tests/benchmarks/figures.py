"""The figures that are asked for, and where each is found among what the benchmarks measure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Measured = Mapping[str, Mapping[str, Any]]
"""Benchmark -> name -> value."""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    words: str
    benchmark: str
    key: str
    """Name of the value, or the beginning of it."""
    asked: float | str
    """A number, or the name of another value of the same benchmark."""
    bound: Literal["at most", "at least"]
    unit: str = ""

    def row(self, measured: Measured) -> tuple[str, str, str, str, str]:
        """figure, asked, measured, ratio (measured / asked), met."""
        values = measured.get(self.benchmark, {})
        value = _find(values, self.key)
        asked = _find(values, self.asked) if isinstance(self.asked, str) else self.asked
        if value is None or asked is None:
            return self.words, self._say(asked), "not measured", "", "no"
        return (
            self.words,
            self._say(asked),
            f"{value:,.4g} {self.unit}",
            f"{value / asked:.2f}",
            self._met(values, asked),
        )

    def _met(self, values: Mapping[str, Any], asked: float) -> str:
        # Where neighbouring runs fall on both sides of what is asked, a median alone would say more than was measured.
        names = (self.key, f"{self.key}_least", f"{self.key}_most")
        found = [value for name in names if (value := _find(values, name)) is not None]
        met = {value <= asked if self.bound == "at most" else value >= asked for value in found}
        return "cannot be told" if len(met) == 2 else "yes" if met == {True} else "no"

    def _say(self, asked: float | None) -> str:
        return "" if asked is None else f"{self.bound} {asked:,.4g} {self.unit}"


FIGURES = (
    Figure("quickstart, 2 cores, in all", "quickstart", "seconds", 60, "at most", "s"),
    Figure("quickstart: first line", "quickstart", "first_line_s", 2, "at most", "s"),
    Figure("quickstart: first trial steps recorded", "quickstart", "first_steps_recorded_s", 20, "at most", "s"),
    Figure("quickstart: a trial (by hand, quoted: 6.8 s)", "quickstart", "s_per_trial", 6.8, "at most", "s"),
    Figure("orchestration, 2,000 one-step trials: a trial", "orchestration", "ms_at_2000", 5, "at most", "ms"),
    Figure("orchestration, 10,000 one-step trials: a trial", "orchestration", "ms_at_10000", 5, "at most", "ms"),
    Figure("  10,000 against 2,000", "orchestration", "ms_at_10000", "ms_at_2000", "at most", "ms"),
    Figure("  against Ray Tune, function", "orchestration", "ms_at_2000", "ray_tune_function_ms", "at most", "ms"),
    Figure("  against Ray Tune, class used again", "orchestration", "ms_at_2000", "ray_tune_class_ms", "at most", "ms"),
    Figure("packed against alone, 64 digits trials", "packing", "times_faster", 3, "at least", "x"),
    Figure("  nets for images, the least", "image_packs", "times_faster_least", 1, "at least", "x"),
    Figure("  character models, the least", "text_packs", "times_faster_least", 1, "at least", "x"),
    Figure("publishing: points a second, SQLite", "publishing", "points per second, 1,000", 5_000, "at least", "/s"),
    Figure("publishing: a run, created to ended", "publishing", "a run with 14 parameters", 50, "at most", "ms"),
    Figure("slow tracker (500 ms a call): time to last step", "slow_tracker", "ratio", 1.02, "at most", "x"),
    Figure("sharpness every 10: within 1 %", "sharpness", "within_1_percent_share_every_10", 0.95, "at least"),
    Figure("sharpness every 10: within 5 %", "sharpness", "within_5_percent_share_every_10", 1, "at least"),
    Figure("sharpness every 100: within 1 %", "sharpness", "within_1_percent_share_every_100", 0.95, "at least"),
    Figure("sharpness every 100: within 5 %", "sharpness", "within_5_percent_share_every_100", 1, "at least"),
    Figure("sharpness every 10: median HVPs", "sharpness", "median_hvps_every_10", 5, "at most"),
    Figure("sharpness every 100: median HVPs", "sharpness", "median_hvps_every_100", 8, "at most"),
    Figure(
        "sharpness along 500 steps: HVPs against eigsh", "sharpness_along", "largest_against_eigsh", 1.1, "at most", "x"
    ),
    Figure("  cold power iteration against ours", "sharpness_along", "least_power_against_ours", 2, "at least", "x"),
    Figure("  16 trials packed, a trial against alone", "sharpness_along", "packed_times_cheaper", 4, "at least", "x"),
    Figure("  the same with 16 hidden units", "sharpness_along", "packed_narrow_times_cheaper", 4, "at least", "x"),
    Figure("REST, 100 requests/s: a study, p99", "service", "study_p99_ms", 50, "at most", "ms"),
    Figure("REST, 100 requests/s: 100 trials, p99", "service", "trials_p99_ms", 50, "at most", "ms"),
    Figure("REST: submit of 1,000 trials, p99", "service", "submit_p99_ms", 250, "at most", "ms"),
    Figure("REST: page 1,000 against page 1", "service", "last_page_against_first", 1.5, "at most", "x"),
    Figure("REST: memory after 20,000 requests", "service", "rss_growth", 1.05, "at most", "x"),
    Figure("REST: 500 idle listeners", "service", "listeners_mb", 100, "at most", "MB"),
    Figure("checkpoints: share of the training's time", "crashes", "checkpoint_share", 0.02, "at most"),
    Figure("a kill: work made again, in cadences", "crashes", "steps_again_of_a_cadence", 1, "at most"),
    Figure("trainer killed: to the next step", "crashes", "trainer_to_next_step_s", 15, "at most", "s"),
    Figure("raylet killed: to the next step", "crashes", "raylet_to_next_step_s", 20, "at most", "s"),
    Figure("driver killed: to the next step", "crashes", "driver_to_next_step_s", 30, "at most", "s"),
    Figure("whole Ray killed: to the next step", "crashes", "ray_to_next_step_s", 30, "at most", "s"),
    Figure("10,000 trials, 90 % done: to the first missing", "crashes", "resume_first_start_s", 20, "at most", "s"),
    Figure("10,000 small trials: growth of memory", "long_life", "largest_growth", 1.1, "at most", "x"),
    Figure(
        "10,000 one-step trials against 1,000: a trainer's memory",
        "trial_memory",
        "trainer_growth",
        1.1,
        "at most",
        "x",
    ),
    Figure("  and the driver's", "trial_memory", "driver_growth", 1.1, "at most", "x"),
    Figure("1 to 4 raylets, the same trainers: the least efficiency", "raylets", "least_efficiency", 0.9, "at least"),
    Figure("200 short studies, one service: growth of memory", "short_studies", "largest_growth", 1.1, "at most", "x"),
)


def table(measured: Measured) -> str:
    """The figures of the benchmarks that were run, aligned."""
    header = ("figure", "asked", "measured", "ratio", "met")
    rows = [header, *(figure.row(measured) for figure in FIGURES if figure.benchmark in measured)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _find(values: Mapping[str, Any], key: str) -> float | None:
    # A whole name first: `ratio` must not find `ratio_most`. Other names say a count at their end.
    found = values[key] if key in values else next((v for name, v in values.items() if name.startswith(key)), None)
    return float(found) if isinstance(found, int | float) else None
