"""The follow-up study of a pilot, as a document: derived warmup against none, tuned linear, and the pilot's best."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from schemas.derived import DerivedFrom
from schemas.errors import Problem, SpecError
from schemas.study import Study
from schemas.trials import Seed
from workers.analysis.deriving import DerivedWarmup, Pilot, applied_rate, derive_warmup
from workers.analysis.law_words import because
from workers.analysis.laws import RESPONSES
from workers.analysis.plain import number
from workers.analysis.ranking import Group
from workers.laws.judging import LawAnswer

ARMS = {"derived": "derived", "none": "none", "linear": "linear", "pilot_best": "pilot-best"}
MIN_SEEDS = 3
_LENGTHS = (3, 8)
"""At least and at most so many lengths does tuned linear try."""


def follow_up(
    pilot: Pilot,
    study: Study,
    pilot_id: str,
    *,
    total_steps: Mapping[str, int],
    workload: str | None = None,
    optimizer: str | None = None,
    even_so: bool = False,
) -> dict[str, Any]:
    """The document of the follow-up.

    Args:
        study: the pilot's, parsed. total_steps: name of each of its workloads -> the updates of a trial.
        workload, optimizer: which group, where the pilot has several. even_so: also where the law is not supported.

    Raises:
        SpecError: no curvature measured, no one group meant, the law not supported, nothing that can be derived, or a
            scale that the pilot has a bound of alone.
    """
    _check_probes(pilot)
    group = _chosen(pilot, workload, optimizer)
    _check_law(pilot, group, even_so)
    # the names of workload and optimizer as the ledger has them: those of one variant of each
    row = _trial_of_best(pilot, group)
    steps = total_steps[str(row["workload_variant"])]
    try:
        derived = derive_warmup(pilot, group, steps)
    except ValueError as error:
        raise SpecError([Problem("STUDY", "a pilot in which nothing falls", str(error))]) from error
    _check_scale(group, derived, even_so=even_so)
    return _document(pilot, study, pilot_id, group, row, derived, steps)


def _check_probes(pilot: Pilot) -> None:
    question = pilot.question
    if {question.probe_kind(name) for name in question.probes} & set(RESPONSES):
        return
    allowed = (
        f"one of {', '.join(RESPONSES)}: without curvature there is no law. Add these lines and run the pilot again:"
        "\nprobes:\n  - {kind: sharpness, every_steps: 20}\nprobe_budget: 1.0"
    )
    raise SpecError([Problem("probes", ", ".join(question.probes) or "none", allowed)])


def _chosen(pilot: Pilot, workload: str | None, optimizer: str | None) -> Group:
    asked = (("--workload", workload, "workload"), ("--optimizer", optimizer, "optimizer"))
    problems, groups = [], list(pilot.groups)
    for flag, said, field in asked:
        names = list(dict.fromkeys(getattr(group, field) for group in groups))
        if said is not None and said not in names:
            problems.append(Problem(flag, said, f"one of {', '.join(names)}"))
        elif said is None and len(names) > 1:
            problems.append(Problem(flag, "nothing", f"one of {', '.join(names)}: a follow-up is of one"))
        elif said is not None:
            groups = [group for group in groups if getattr(group, field) == said]
    if problems or not groups:
        raise SpecError(problems or [Problem("STUDY", "no trials", "a pilot with finished trials")])
    return groups[0]


def _check_law(pilot: Pilot, group: Group, even_so: bool) -> None:
    if group.label not in pilot.laws:
        raise SpecError([Problem("probes", f"no point of {group.label}", "a pilot whose curvature was measured")])
    main = pilot.laws[group.label].laws[0]
    if not main.fit.law.k0 >= 0:
        raise SpecError([Problem("law", str(main.fit.answer), f"points that a law can be fitted to: {because(main)}")])
    if main.fit.answer is not LawAnswer.SUPPORTED and not even_so:
        allowed = f"supported: {because(main)}. Nothing is written; --even-so writes the follow-up all the same"
        raise SpecError([Problem("law", str(main.fit.answer), allowed)])


def _check_scale(group: Group, derived: DerivedWarmup, *, even_so: bool) -> None:
    """What the baseline sustains at once is known where it fails somewhere: else warmup may not be needed at all.

    Raises:
        SpecError: the scale is the pilot's, and its baseline was usable at the largest rate that it tried.
    """
    baseline = group.baseline
    if derived.scale_from != "pilot" or baseline is None or not baseline.usable.at_edge or even_so:
        return
    got = f"{baseline.schedule} is usable at {number(baseline.usable.rate, 3)}, the largest peak LR"
    allowed = (
        "a pilot whose peak LRs go on until that fails: where it does is the scale of the derived rate. Extend the"
        " study with larger ones; --even-so writes the follow-up all the same"
    )
    raise SpecError([Problem("peak_lrs", got, allowed)])


def _trial_of_best(pilot: Pilot, group: Group) -> "pd.Series[Any]":
    """A trial of the pilot's best cell, with the names that the ledger has."""
    trials = pilot.table.trials
    row = trials[(trials["cell"] == group.ranked[0].best_cell).to_numpy()].iloc[0]
    raw = pilot.folder.trials().set_index("trial_id").loc[row["trial_id"]]
    names = {f"{axis}_variant": raw[axis] for axis in ("workload", "optimizer", "schedule")}
    return pd.Series({**row.to_dict(), **names})


def _document(
    pilot: Pilot,
    study: Study,
    pilot_id: str,
    group: Group,
    row: "pd.Series[Any]",
    derived: DerivedWarmup,
    steps: int,
) -> dict[str, Any]:
    trials = pilot.table.trials
    spent = trials.loc[((trials["group"] == group.label) & trials["done"]).to_numpy(), "gradients"].to_numpy(
        dtype=float
    )
    seeds = _seeds(study)
    configurations = math.ceil(float(np.nansum(spent)) / (len(seeds) * max(1e-9, float(np.nanmean(spent))))) + 1
    specs = {
        axis: {variant.name: variant.spec for variant in study.variants(f"{axis}s")}[str(row[f"{axis}_variant"])]
        for axis in ("workload", "optimizer", "schedule")
    }
    best = specs["schedule"].model_dump(mode="json")
    if specs["schedule"].decay.HAS_WARMUP:
        raise SpecError(
            [Problem("schedules", best["decay"]["kind"], "a best schedule whose decay has no warmup of its own")]
        )
    peaks = trials.loc[(trials["group"] == group.label).to_numpy(), "peak_lr"]
    rates, best_rate = sorted({*peaks[np.isfinite(peaks)]}), applied_rate(pilot, group.ranked[0].best_cell)
    span = (rates[0], max(rates[-1], 2 * derived.peak_lr))
    baseline = group.baseline
    has_baseline = baseline is not None and baseline.n > 0
    centres = (applied_rate(pilot, baseline.best_cell) if has_baseline else rates[len(rates) // 2], best_rate)
    lengths, linear_rates = _linear(configurations, steps, derived)
    of_none, of_linear = _grid(centres[0], span, configurations), _grid(centres[1], span, linear_rates)
    label = "label" if "label" in type(specs["optimizer"]).model_fields else "name"
    decay = best["decay"]
    document = study.resolved
    return {
        "schema_version": 1,
        "name": f"{study.name}-derived"[:100],
        "description": _description(study.name, group, _count(of_none), len(lengths) * _count(of_linear)),
        "workloads": [{**specs["workload"].model_dump(mode="json"), "name": group.workload}],
        "optimizers": [{**_plain(specs["optimizer"]), label: group.optimizer, "peak_lrs": None}],
        "schedules": [
            _schedule("none", {"kind": "none"}, decay, of_none),
            _schedule("linear", {"kind": "linear", "steps": _swept(lengths)}, decay, of_linear),
            _schedule("derived", derived.warmup, decay, {"values": [derived.peak_lr]}),
            _schedule("pilot_best", best["warmup"], decay, {"values": [best_rate]}),
        ],
        "seeds": seeds,
        "probes": document["probes"],
        "probe_budget": document["probe_budget"],
        "execution": document["execution"],
        "analysis": {**document["analysis"], "baseline": ARMS["linear"], "tuned": ["peak_lr"]},
        **({"plugins": document["plugins"]} if "plugins" in document else {}),
        "derived_from": _frozen(pilot, study, pilot_id, group, derived, float(np.nansum(spent)), configurations),
    }


def _plain(spec: Any) -> dict[str, Any]:
    return dict(spec.model_dump(mode="json"))


def _schedule(arm: str, warmup: dict[str, Any], decay: dict[str, Any], peak_lrs: dict[str, Any]) -> dict[str, Any]:
    return {"name": ARMS[arm], "warmup": warmup, "decay": decay, "peak_lrs": peak_lrs}


def _swept(lengths: list[int]) -> Any:
    return {"sweep": lengths} if len(lengths) > 1 else lengths[0]


def _grid(centre: float, span: tuple[float, float], count: int) -> dict[str, Any]:
    """Rates around what was best in the pilot, half a power of ten apart, or closer where that is beyond its rates."""
    reach = 10 ** (0.25 * (count - 1))
    low, high = (float(f"{each:.4g}") for each in (max(span[0], centre / reach), min(span[1], centre * reach)))
    if count == 1 or low >= high:
        return {"values": [high]}
    return {"grid": {"low": low, "high": high, "count": count, "spacing": "log"}}


def _count(rates: dict[str, Any]) -> int:
    return int(rates["grid"]["count"]) if "grid" in rates else len(rates["values"])


def _linear(configurations: int, steps: int, derived: DerivedWarmup) -> tuple[list[int], int]:
    """Lengths over the run, the derived one among them, and rates for each: together as many as the others may try."""
    fewest, most = _LENGTHS
    count = max(fewest, min(most, round(math.sqrt(configurations / 2))))
    own = int(derived.warmup.get("steps") or 2)
    low = max(2, min(own // 4, steps // 100))
    high = max(low + 1, min(max(steps // 2, 2 * own), max(2, steps - 1)))
    spread = np.geomspace(low, high, count)
    spread[np.abs(np.log(spread / own)).argmin()] = own
    lengths = sorted({round(float(each)) for each in spread})
    return lengths, max(2, -(-configurations // len(lengths)))


def _seeds(study: Study) -> list[int]:
    """As many as the pilot had, at least three, none of which the pilot has in any of its streams."""
    theirs = study.fields.seed_list()
    taken = max(max(seed.initialization, seed.data_order, seed.noise) for seed in theirs)
    return [taken + 1 + index for index in range(max(MIN_SEEDS, len({_cluster(seed) for seed in theirs})))]


def _cluster(seed: Seed) -> int:
    return seed.initialization


def _description(name: str, group: Group, of_none: int, of_linear: int) -> str:
    return (
        f"Derived from {name} ({group.label}) by its smoothness law: the derived warmup, not tuned, against none, tuned"
        f" over {of_none} configurations, and linear, over {of_linear} (what the pilot and the derived arm cost, or a"
        " little more), and the pilot's best. The seeds are new; the predictions under derived_from were made before"
        " anything ran."
    )


def _frozen(
    pilot: Pilot,
    study: Study,
    pilot_id: str,
    group: Group,
    derived: DerivedWarmup,
    spent: float,
    configurations: int,
) -> dict[str, Any]:
    main = pilot.laws[group.label].laws[0]
    law = main.fit.law
    predictions = [
        {
            "quantity": each.quantity,
            "value": _short(each.value),
            "low": _short(each.low),
            "high": _short(each.high) if math.isfinite(each.high) else None,
        }
        for each in derived.foretold
    ]
    frozen = {
        "study": pilot_id,
        "spec_hash": study.spec_hash,
        "name": study.name,
        "workload": group.workload,
        "optimizer": group.optimizer,
        "law": {
            "response": main.response,
            "rho": _short(law.rho),
            "k0": _short(law.k0),
            "k_rho": _short(law.k_rho),
            "optimum": main.optimum,
            "answer": str(main.fit.answer),
        },
        "scale": _short(derived.scale),
        "scale_from": derived.scale_from,
        "pilot_gradients": spent,
        "configurations": configurations,
        "warmup_needed": derived.needed,
        "arms": ARMS,
        "predictions": predictions,
    }
    return DerivedFrom.model_validate(frozen).model_dump(mode="json")


def _short(value: float) -> float:
    return float(f"{value:.6g}")
