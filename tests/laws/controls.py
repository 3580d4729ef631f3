"""Paths whose law is known: gradient descent on analytic functions, and studies in which there is no law to find."""

from collections.abc import Callable

import numpy as np

from workers.laws.points import LawPoints

RATES = (0.25, 0.5, 1.0, 2.0)


def gather(paths: list[dict], *, cluster_by: str = "seed") -> LawPoints:
    """One LawPoints of paths {seed, peak_lr, step, gap, curvature, gradient_norm, lr}."""

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.broadcast_to(path[name], len(path["gap"])) for path in paths]).astype(float)

    trial = np.concatenate([np.full(len(path["gap"]), index) for index, path in enumerate(paths)])
    seeds = np.concatenate([np.full(len(path["gap"]), path["seed"]) for path in paths])
    return LawPoints(
        curvature=column("curvature"),
        gap=column("gap"),
        gradient_norm=column("gradient_norm"),
        lr=column("lr"),
        step=column("step").astype(np.int64),
        trial=trial,
        cluster=trial if cluster_by == "trial" else seeds,
        peak_lr=column("peak_lr"),
        before_peak=np.zeros(len(trial), dtype=bool),
    )


def descent(value: Callable, slope: Callable, curvature: Callable, start: float, rates, steps: int, optimum=0.0):
    """Gradient descent in one dimension at constant rates: exact points, each trial a cluster of its own."""
    paths = []
    for index, rate in enumerate(rates):
        w = [start]
        for _ in range(steps - 1):
            w.append(w[-1] - rate * slope(w[-1]))
        w = np.array(w)
        paths.append(
            {
                "seed": index,
                "peak_lr": rate,
                "lr": rate,
                "step": np.arange(steps),
                "gap": value(w) - optimum,
                "curvature": np.abs(curvature(w)),
                "gradient_norm": np.abs(slope(w)),
            }
        )
    return gather(paths, cluster_by="trial")


def falling_gaps(random: np.random.Generator, *, seeds: int, steps: int):
    """A loss as networks have it: it falls like a power of the summed rate, at its own speed in each trial, with noise.

    Yields paths without curvature: warmup of a quarter of the steps, then constant.
    """
    for seed in range(seeds):
        start = 2.3 * np.exp(0.1 * random.standard_normal())
        for rate in RATES:
            step = np.arange(steps)
            lr = rate * np.minimum(1.0, (step + 1) / (steps // 4))
            speed = np.exp(0.1 * random.standard_normal())
            gap = start / (1 + speed * np.cumsum(lr)) * np.exp(0.05 * random.standard_normal(steps))
            norm = np.sqrt(gap) * np.exp(0.3 * random.standard_normal(steps))
            yield {"seed": seed, "peak_lr": rate, "lr": lr, "step": step, "gap": gap, "gradient_norm": norm}


def noise(random: np.random.Generator, steps: int, size: float = 0.15) -> np.ndarray:
    return np.exp(size * random.standard_normal(steps))


def lawful(random, seeds=3, steps=12):
    """The positive control: curvature is 1 + 4 gap, times noise of 15 % and a factor of the seed's own of 5 %."""
    own = np.exp(0.05 * random.standard_normal(seeds))
    paths = list(falling_gaps(random, seeds=seeds, steps=steps))
    return gather([p | {"curvature": own[p["seed"]] * (1 + 4 * p["gap"]) * noise(random, steps)} for p in paths])


def random_walks(random, seeds=3, steps=12):
    """log gap and log curvature walk independently in each trial."""
    paths = []
    for path in falling_gaps(random, seeds=seeds, steps=steps):
        gap, curvature = np.exp(np.cumsum(random.standard_normal((2, steps)), axis=1))
        paths.append(path | {"gap": gap, "curvature": curvature})
    return gather(paths)


def by_step_alone(random, seeds=3, steps=12):
    """Curvature falls with the step, the same in all trials; the gap falls too, at a speed that hangs on the rate."""
    paths = list(falling_gaps(random, seeds=seeds, steps=steps))
    return gather([p | {"curvature": 10 / (1 + p["step"]) * noise(random, steps)} for p in paths])


def edge_of_stability(random, seeds=3, steps=12):
    """Curvature is 2/lr: it falls in warmup, as the gap does, because the rate rises."""
    paths = list(falling_gaps(random, seeds=seeds, steps=steps))
    return gather([p | {"curvature": 2 / p["lr"] * noise(random, steps)} for p in paths])


def unbalanced_net(random, seeds=4, steps=12):
    """F6, (xy - 1)^2 / 2, from unbalanced starts: in the valley the norm is x^2 + y^2, of any size."""
    paths = []
    for seed in range(seeds):
        ratio, product = np.exp(random.uniform(0.3, 2.0)), np.exp(random.uniform(0.3, 1.2))
        start = np.array([ratio * np.sqrt(product), np.sqrt(product) / ratio])
        for rate in RATES:
            w, rows = start.copy(), []
            lr = 0.3 * rate / (w @ w + 2)
            for _ in range(steps):
                x, y = w
                rest = x * y - 1
                hessian = np.array([[y * y, 2 * x * y - 1], [2 * x * y - 1, x * x]])
                gradient = rest * w[::-1]
                rows.append((0.5 * rest**2, np.abs(np.linalg.eigvalsh(hessian)).max(), np.linalg.norm(gradient)))
                w = w - lr * gradient
            gap, curvature, norm = np.array(rows).T
            named = {"gap": gap, "curvature": curvature, "gradient_norm": norm, "step": np.arange(steps)}
            paths.append({"seed": seed, "peak_lr": rate, "lr": lr, **named})
    return gather(paths)


def shuffled(random, seeds=3, steps=12):
    """The positive control with its pairs of loss and curvature torn apart."""
    points = lawful(random, seeds, steps)
    order = random.permutation(len(points))
    return type(points)(**{**points.__dict__, "curvature": points.curvature[order]})
