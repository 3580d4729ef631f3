"""Which figures a report has, in order."""

from workers.analysis.figures import heatmap, law, loss_curves, metric_over_lr, sharpness, smoothness, target_steps
from workers.analysis.figures.model import Figure
from workers.analysis.figures.source import FigureSource

_DRAWERS = {
    each.NAME: each.draw for each in (loss_curves, metric_over_lr, heatmap, target_steps, sharpness, smoothness, law)
}

FIGURE_NAMES = tuple(_DRAWERS)


def draw_all(source: FigureSource) -> dict[str, Figure]:
    """Every figure by name; one without data has no panels."""
    return {name: draw(source) for name, draw in _DRAWERS.items()}
