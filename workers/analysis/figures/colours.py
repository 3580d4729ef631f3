"""Which colour, mark and dash a schedule has, the same in every figure."""

from dataclasses import dataclass

from workers.analysis.figures.model import Symbol

# Okabe and Ito's palette, told apart with every common kind of colour blindness; yellow is left out: unseen on white
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASELINE = "#333333"
_SYMBOLS: tuple[Symbol, ...] = ("square", "diamond", "triangle-up", "pentagon", "star", "hexagon")
_DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Look:
    """How a schedule is drawn."""

    colour: str
    symbol: Symbol
    dash: str


def looks(contenders: list[tuple[str, bool]]) -> dict[str, Look]:
    """The look of each (name, whether it is the baseline), by order; past the palette the dash changes."""
    found: dict[str, Look] = {}
    for name, is_baseline in contenders:
        if name in found:
            continue
        if is_baseline:
            found[name] = Look(BASELINE, "circle", "dash")
            continue
        index = sum(look.colour != BASELINE for look in found.values())
        found[name] = Look(
            _COLOURS[index % len(_COLOURS)],
            _SYMBOLS[index % len(_SYMBOLS)],
            _DASHES[index // len(_COLOURS) % len(_DASHES)],
        )
    return found
