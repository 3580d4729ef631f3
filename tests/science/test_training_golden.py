"""The golden curve: a few numbers of one run, stored. A change that moves them must raise SCIENCE_REVISION.

Rebuilt by `python tests/science/test_training_golden.py` from the project's root.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np

from schemas.optimizers import SGD, AdamW
from schemas.probes import SecantSmoothness, Sharpness
from schemas.schedules import CosineDecay
from schemas.trials import SCIENCE_REVISION, ProbePoints

STORED = Path(__file__).with_name("golden_curve.json")
STEPS = (0, 1, 9, 30, 59)
PROBES = (
    SecantSmoothness(kind="secant_smoothness", every_steps=30),
    Sharpness(kind="sharpness", every_steps=30, relative_tolerance=1e-3, max_hvps=40),
)
POINTS = {
    "secant_smoothness": ProbePoints(steps=(0, 30)),
    "sharpness": ProbePoints(steps=(0, 30), hvps_allowed=80),
}


def golden_numbers(make, blobs):
    """Two trials in float64: stable, so that another machine's rounding cannot grow."""
    workload = make.classification(60, precision="float64", gradient_clip_norm=2.0)
    schedule = make.schedule(10, CosineDecay(kind="cosine", floor=0.1))
    trials = [
        make.trial(workload, SGD(kind="sgd", momentum=0.9), 0.05, schedule=schedule),
        make.trial(workload, AdamW(kind="adamw"), 3e-3, schedule=schedule, seed=make.seed(1)),
    ]
    curves = []
    for spec in trials:
        done = make.run(make.pack(spec, probes=PROBES, points=POINTS), blobs)
        steps, probes = done.tables["steps"], done.tables["probes"]
        curves.append(
            {
                **{name: steps[name][list(STEPS)].tolist() for name in ("train_loss", "gradient_norm", "update_norm")},
                **{name: probes["value"][probes["probe"] == name].tolist() for name in POINTS},
                "validation_loss": done.tables["evaluations"]["validation_loss"].tolist(),
                "test_loss": done.results[0].final["test_loss"],
            }
        )
    return curves


def test_the_golden_curve_has_not_moved(make, blobs):
    stored = json.loads(STORED.read_text())
    assert stored["science_revision"] == SCIENCE_REVISION, "rebuild the golden curve"
    for ours, theirs in zip(golden_numbers(make, blobs), stored["curves"], strict=True):
        for name, values in theirs.items():
            tolerance = 2e-3 if name == "sharpness" else 1e-8
            np.testing.assert_allclose(ours[name], values, rtol=tolerance, err_msg=name)


def _rebuild() -> None:
    spec = importlib.util.spec_from_file_location("packs", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    packs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packs)
    curves = golden_numbers(packs, packs.make_blobs())
    STORED.write_text(json.dumps({"science_revision": SCIENCE_REVISION, "curves": curves}, indent=1) + "\n")


if __name__ == "__main__":
    _rebuild()
