"""Writes convention_tables.json from the libraries themselves: `python make_convention_tables.py SOURCES`.

SOURCES holds their unpacked wheels or sdists: transformers/, timm/, optax/, fairseq/ (the folder with optim/). Only the
files of their schedulers are read, so that none of them has to be installed; optax runs on numpy, in float64. The slow
starts of arXiv 2505.23420 are its own code's formulas at `num_updates`, written out here. Not needed by the tests.
"""

import ast
import itertools
import json
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.conventions import COMBINATIONS

HERE = Path(__file__).parent
PEAK = 0.5
LENGTHS = ((12, 4), (9, 1))
"""(T, W)."""
WARMUPS = {
    "none": [{"kind": "none"}],
    "linear": [{"kind": "linear"}, {"kind": "linear", "start_factor": 0.25}],
    "cosine": [{"kind": "cosine"}],
    "polynomial": [{"kind": "polynomial", "alpha": 1.5}],
    "exponential_convex": [{"kind": "exponential_convex", "alpha": 1.5}],
    "piecewise_linear": [{"kind": "piecewise_linear", "knee_position": 0.5, "knee_factor": 0.1}],
}
DECAYS = {
    "constant": [{"kind": "constant"}],
    "cosine": [{"kind": "cosine"}, {"kind": "cosine", "floor": 0.1}],
    "linear": [{"kind": "linear"}, {"kind": "linear", "floor": 0.1}],
    "exponential": [{"kind": "exponential", "gamma": 0.9}],
    "inverse_sqrt": [{"kind": "inverse_sqrt"}],
    "wsd": [
        {"kind": "wsd", "cooldown_steps": 3, "cooldown": "linear"},
        {"kind": "wsd", "cooldown_steps": 5, "cooldown": "one_minus_sqrt"},
        {"kind": "wsd", "cooldown_steps": 5, "cooldown": "one_minus_sqrt", "floor": 0.25},
    ],
    "one_cycle": [
        {"kind": "one_cycle"},
        {"kind": "one_cycle", "anneal": "linear", "three_phase": True, "warmup_fraction": 0.25},
        {"kind": "one_cycle", "anneal": "cosine", "warmup_fraction": 0.4, "div_factor": 10.0, "final_div_factor": 50.0},
    ],
}
Rates = Callable[[int], float]


def main(sources: Path) -> None:
    libraries = {"torch": with_torch, "hf": with_hf, "timm": with_timm, "optax": with_optax, "fairseq": with_fairseq}
    rows = []
    for convention, of_decay in COMBINATIONS.items():
        for decay_kind, warmup_kinds in of_decay.items():
            kinds = itertools.product(warmup_kinds, LENGTHS)
            for warmup_kind, (total, steps) in kinds:
                for warmup, decay in itertools.product(WARMUPS[warmup_kind], DECAYS[decay_kind]):
                    length = 0 if warmup_kind == "none" else steps
                    made = libraries[convention](warmup, decay, length, total, sources)
                    if made is None:  # the library has no such thing: refused by name, as other tests see
                        continue
                    call, rates = made
                    said = {**warmup, **({} if warmup_kind == "none" else {"steps": steps})}
                    schedule = {"convention": convention, "warmup": said, "decay": decay}
                    row = {"schedule": schedule, "total_steps": total, "call": call}
                    rows.append({**row, "factors": [round(rate / PEAK, 14) for rate in rates]})
    text = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "convention_tables.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


def with_torch(warmup: Any, decay: Any, W: int, T: int, _sources: Path) -> Any:
    """The rates of an optimizer that the schedulers drive."""
    schedulers = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    start, floor = warmup.get("start_factor", 0.0), decay.get("floor", 0.0)
    if decay["kind"] == "one_cycle":
        named = {"div_factor": 25.0, "final_div_factor": 1e4, "three_phase": False, "warmup_fraction": 0.3} | decay
        fields = {name: named[name] for name in ("div_factor", "final_div_factor", "three_phase")}
        fields |= {"pct_start": named["warmup_fraction"], "anneal_strategy": named.get("anneal", "cosine")[:6]}
        fields["anneal_strategy"] = "cos" if fields["anneal_strategy"] == "cosine" else "linear"
        last = schedulers.OneCycleLR(optimizer, PEAK, total_steps=T, cycle_momentum=False, **fields)
        call = f"OneCycleLR(total_steps={T}, {fields})"
    else:
        if W and start == 0:
            return None
        down = {
            "constant": lambda: schedulers.ConstantLR(optimizer, factor=1.0),
            "cosine": lambda: schedulers.CosineAnnealingLR(optimizer, T_max=T - W, eta_min=floor * PEAK),
            "linear": lambda: schedulers.LinearLR(optimizer, 1.0, end_factor=floor, total_iters=T - W),
            "exponential": lambda: schedulers.ExponentialLR(optimizer, gamma=decay["gamma"]),
        }[decay["kind"]]
        call = f"{decay['kind']} over T - W"
        if W:
            up = schedulers.LinearLR(optimizer, start_factor=start, total_iters=W)
            last = schedulers.SequentialLR(optimizer, [up, down()], milestones=[W])
            call = f"SequentialLR([LinearLR({start}, total_iters={W}), {call}], milestones=[{W}])"
        else:
            last = down()
    rates = []
    for step in range(T):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < T - 1:
            last.step()
    return f"torch {torch.__version__.split('+')[0]}: {call}", rates


def with_hf(warmup: Any, decay: Any, W: int, T: int, sources: Path) -> Any:
    """The lambdas that transformers hands to LambdaLR."""
    found = definitions(sources / "transformers" / "optimization.py", lambda name: name.startswith(("_get_", "get_")))
    scope = run_source(found, {"math": math, "partial": lambda call, **said: lambda step: call(step, **said)})
    scope["LambdaLR"] = lambda _optimizer, lr_lambda, *_, **__: lr_lambda
    optimizer = types.SimpleNamespace(defaults={"lr": PEAK})
    start, floor = warmup.get("start_factor", 0.0), decay.get("floor", 0.0)
    lengths = {"num_warmup_steps": W, "num_training_steps": T}
    if decay["kind"] == "wsd":
        if (warmup["kind"] == "linear" and start != floor) or (warmup["kind"] == "cosine" and floor):
            return None
        shape = decay["cooldown"].replace("one_minus_sqrt", "1-sqrt")
        up = "cosine" if warmup["kind"] == "cosine" else "linear"
        fields = {"num_decay_steps": decay["cooldown_steps"], "min_lr_ratio": floor}
        name, fields = "get_wsd_schedule", lengths | fields | {"warmup_type": up, "decay_type": shape}
    elif start:
        return None
    elif decay["kind"] == "linear":
        # its end must differ from the peak, and at power 1 it is the straight line to any floor
        name, fields = "get_polynomial_decay_schedule_with_warmup", lengths | {"lr_end": floor * PEAK, "power": 1.0}
    elif decay["kind"] == "cosine":
        name, fields = "get_cosine_with_min_lr_schedule_with_warmup", lengths | {"min_lr_rate": floor}
    else:
        name = {"constant": "get_constant_schedule_with_warmup", "inverse_sqrt": "get_inverse_sqrt_schedule"}[
            decay["kind"]
        ]
        fields = {"num_warmup_steps": W}
    rate = scope[name](optimizer, **fields)
    return f"transformers 5.24.0: {name}({fields})", [PEAK * rate(step) for step in range(T)]


def with_timm(warmup: Any, decay: Any, W: int, T: int, sources: Path) -> Any:
    """`step_update(num_updates)` behind each update, as timm's train.py calls it."""
    package = types.ModuleType("timm.scheduler")
    package.__path__ = [str(sources / "timm" / "scheduler")]
    sys.modules.setdefault("timm", types.ModuleType("timm"))
    sys.modules.setdefault("timm.scheduler", package)
    from timm.scheduler.cosine_lr import CosineLRScheduler
    from timm.scheduler.poly_lr import PolyLRScheduler
    from timm.scheduler.step_lr import StepLRScheduler
    from timm.scheduler.wsd_lr import WSDLRScheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    floor = decay.get("floor", 0.0) * PEAK
    common = {"warmup_t": W, "warmup_lr_init": warmup.get("start_factor", 0.0) * PEAK, "t_in_epochs": False}
    kind, prefixed = decay["kind"], common | {"warmup_prefix": True}
    if kind == "cosine":
        made, fields = CosineLRScheduler, prefixed | {"t_initial": T - W, "lr_min": floor}
    elif kind == "linear":
        made, fields = PolyLRScheduler, prefixed | {"t_initial": T - W, "lr_min": floor, "power": 1.0}
    elif kind == "wsd":
        shape = decay["cooldown"].replace("one_minus_sqrt", "1-sqrt")
        fields = {"t_initial": T - W, "decay_t": decay["cooldown_steps"], "decay_fn": shape, "lr_min": floor}
        made, fields = WSDLRScheduler, common | fields
    else:
        made, fields = StepLRScheduler, prefixed | {"decay_t": 1, "decay_rate": decay.get("gamma", 1.0)}
    scheduler = made(optimizer, **fields)
    rates = []
    for step in range(T):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step_update(num_updates=step + 1)
    return f"timm 1.0.31: {made.__name__}({fields})", rates


def with_optax(warmup: Any, decay: Any, W: int, T: int, sources: Path) -> Any:
    """Joined at [W], as its own warmup_cosine_decay_schedule joins; jax.numpy replaced by numpy."""
    folder = sources / "optax" / "schedules"
    jax = types.SimpleNamespace(tree=types.SimpleNamespace(map=lambda call, tree: tuple(map(call, tree))))
    join = run_source(definitions(folder / "_join.py", lambda _name: True), {"jnp": np})["join_schedules"]
    own = run_source(definitions(folder / "_schedule.py", lambda _name: True), {"jnp": np, "jax": jax})
    floor = decay.get("floor", 0.0)
    if decay["kind"] == "one_cycle":
        if decay.get("three_phase"):
            return None
        named = {"div_factor": 25.0, "final_div_factor": 1e4, "warmup_fraction": 0.3} | decay
        fields = {"pct_start": named["warmup_fraction"], "div_factor": named["div_factor"]}
        fields["final_div_factor"] = named["final_div_factor"]
        rate, call = own["cosine_onecycle_schedule"](T, PEAK, **fields), f"cosine_onecycle_schedule({T}, {fields})"
    else:
        name, down = {
            "constant": lambda: ("constant_schedule", own["constant_schedule"](PEAK)),
            "cosine": lambda: ("cosine_decay_schedule", own["cosine_decay_schedule"](PEAK, T - W, alpha=floor)),
            "linear": lambda: ("linear_schedule", own["linear_schedule"](PEAK, floor * PEAK, T - W)),
            "exponential": lambda: ("exponential_decay", own["exponential_decay"](PEAK, 1, decay.get("gamma", 1.0))),
        }[decay["kind"]]()
        start = warmup.get("start_factor", 0.0)
        rate, call = down, name
        if W:
            up = own["linear_schedule"](start * PEAK, PEAK, W)
            rate, call = join([up, down], [W]), f"join_schedules([linear_schedule from {start}, {name}], [{W}])"
    return f"optax 0.2.8: {call}", [float(rate(step)) for step in range(T)]


def with_fairseq(warmup: Any, decay: Any, W: int, T: int, sources: Path) -> Any:
    """`step_update(num_updates)`, called with 0 before the first update and behind each one."""
    start, floor, kind = warmup.get("start_factor", 0.0), decay.get("floor", 0.0), decay["kind"]
    if warmup["kind"] in ("polynomial", "exponential_convex", "piecewise_linear"):
        curves: dict[str, Rates] = {
            "polynomial": lambda i: (i / W) ** 1.5,
            "exponential_convex": lambda i: (math.exp(1.5 * i / W) - 1) / (math.exp(1.5) - 1),
            "piecewise_linear": lambda i: 0.1 * i / (W / 2) if i < W / 2 else 0.1 + 0.9 * (i - W / 2) / (W / 2),
        }
        curve = curves[warmup["kind"]]
        rates = [PEAK * (curve(i) if i < W else math.sqrt(W / i)) for i in range(T)]
        return f"arXiv 2505.23420, {warmup['kind']} warmup at num_updates", rates
    if start and kind in ("constant", "linear"):
        return None
    file, name, fields = {
        "constant": ("fixed_schedule", "FixedLRSchedule", {"force_anneal": None}),
        "cosine": (
            "cosine_lr_scheduler",
            "CosineLRSchedule",
            {"min_lr": floor * PEAK, "t_mult": 1.0, "lr_shrink": 0.1},
        ),
        "linear": ("polynomial_decay_schedule", "PolynomialDecayLRSchedule", {"end_learning_rate": floor * PEAK}),
        "inverse_sqrt": ("inverse_square_root_schedule", "InverseSquareRootSchedule", {}),
    }[kind]
    fields = {"warmup_updates": W, "warmup_init_lr": start * PEAK, **fields}
    fields |= {
        "cosine": {"lr_period_updates": -1, "max_update": T},
        "linear": {"power": 1.0, "total_num_update": T},
    }.get(kind, {})
    path = sources / "fairseq" / "optim" / "lr_scheduler" / f"{file}.py"
    base = type(
        "FairseqLRScheduler", (), {"__init__": lambda self, cfg, opt: vars(self).update(cfg=cfg, optimizer=opt)}
    )
    scope = {"math": math, "FairseqLRScheduler": base, "Collection": (list, tuple)}
    scope |= {"register_lr_scheduler": lambda *_, **__: lambda cls: cls}
    configs = ("FixedLRSchedule", "CosineLRSchedule", "PolynomialDecayLRSchedule", "InverseSquareRootLRSchedule")
    scope |= dict.fromkeys(f"{each}Config" for each in configs)
    made = run_source(definitions(path, lambda found: found == name), scope)[name]
    held = types.SimpleNamespace(lr=None)
    optimizer = types.SimpleNamespace(set_lr=lambda rate: setattr(held, "lr", rate), get_lr=lambda: held.lr)
    scheduler = made(types.SimpleNamespace(lr=[PEAK], **fields), optimizer)
    rates = []
    for step in range(T):
        scheduler.step_update(step)
        rates.append(held.lr)
    return f"fairseq 0.12.2: {name}({fields})", rates


def definitions(path: Path, wanted: Callable[[str], bool]) -> str:
    """The functions and classes of a file, without its imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Assign)
    kept = [node for node in tree.body if isinstance(node, kinds) and wanted(getattr(node, "name", ""))]
    return ast.unparse(ast.Module(body=kept, type_ignores=[]))


def run_source(source: str, scope: dict[str, Any]) -> dict[str, Any]:
    exec(compile("from __future__ import annotations\n" + source, "<scheduler>", "exec"), scope)
    return scope


if __name__ == "__main__":
    main(Path(sys.argv[1]))
