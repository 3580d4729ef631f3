"""How the training loss falls under each schedule at its best peak learning rate."""

from workers.analysis.figures.bands import band_over_seeds
from workers.analysis.figures.event_marks import event_marks
from workers.analysis.figures.model import Axis, Figure, Panel
from workers.analysis.figures.source import FigureSource
from workers.analysis.ranking import Group

NAME = "loss_curves"


def draw(source: FigureSource) -> Figure:
    """Median and range over seeds of the training-batch loss, one panel per group."""
    return Figure(
        NAME,
        "Training loss by schedule",
        "Each schedule at the peak LR that is best for it on the study's metric. Line: median over seeds; band: lowest "
        "to highest seed. Look for: who is ahead early and who at the end, and for spikes in the band, which are "
        "single seeds that nearly diverged; a triangle marks the top of each spike. A seed that ended early leaves the "
        "median from there on.",
        tuple(panel for group in source.groups if (panel := _panel(group, source)).series),
    )


def _panel(group: Group, source: FigureSource) -> Panel:
    drawn = [band_over_seeds(source, each, source.steps, "train_loss") for each in source.baseline_last(group)]
    series = tuple(each for each in drawn if each is not None)
    spikes = event_marks(source, group, "loss_spike", lambda _, said: (said["peak_step"], said["loss_peak"]))
    positive = all(value is None or value > 0 for each in series for value in each.low)
    return Panel(
        group.label,
        Axis("step (updates made)"),
        Axis("training-batch loss" + source.question.loss_unit(group.workload_entry), log=positive),
        (*series, *spikes) if series else (),
        note=source.note(group),
    )
