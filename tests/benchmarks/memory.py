"""Memory of processes while work passes through them: whether it grows, and a plot of it."""

import statistics
from pathlib import Path

Sample = tuple[float, dict[str, float]]
"""Share of the work that is done, process -> MB."""
EARLY, LATE = (0.2, 0.4), (0.8, 1.0)
"""Shares of the work: the first part pays for what is loaded and made once."""


def growth(samples: list[Sample], name: str) -> float:
    """Of one process: median late over median early."""
    early, late = (
        statistics.median([sizes[name] for share, sizes in samples if low <= share < high or share == high == 1.0])
        for low, high in (EARLY, LATE)
    )
    return late / early


def plot(samples: list[Sample], file: Path, passed: str) -> None:
    """A line for each process. `passed`: what the share is a share of."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    for name in samples[0][1]:
        axes.plot([100 * share for share, _ in samples], [sizes[name] for _, sizes in samples], label=name)
    axes.set(xlabel=passed, ylabel="resident memory (MB)", ylim=(0, None))
    axes.legend()
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file)
