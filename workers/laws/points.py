"""The measured points that a law is fitted to, and how many of them are used."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from workers.laws.power_law import Array

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class LawPoints:
    """N points of curvature on the paths of trials, each field [N].

    trial: a number per trial. cluster: a number per initialization seed, the unit that is resampled; where seeds change
    nothing (a function without noise) every trial is one. peak_lr: of the trial. gap: loss minus the optimum. lr, step:
    of the update made from there. gradient_norm: NaN where it was not measured. before_peak: made during warmup.
    """

    curvature: Array
    gap: Array
    gradient_norm: Array
    lr: Array
    step: Integers
    trial: Integers
    cluster: Integers
    peak_lr: Array
    before_peak: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.curvature)

    def where(self, mask_N: NDArray[np.bool_]) -> "LawPoints":
        """The points of a mask."""
        return LawPoints(**{field.name: getattr(self, field.name)[mask_N] for field in fields(self)})

    def usable(self) -> "LawPoints":
        """Those that a power law can be fitted to: curvature and gap finite and above 0."""
        both = np.stack([self.curvature, self.gap])
        return self.where(np.asarray((np.isfinite(both) & (both > 0)).all(axis=0)))

    def thinned(self, most: int) -> "LawPoints":
        """At most about `most` points: every so many of the steps, the same ones in all trials."""
        stride = -(-len(self) // most)
        if stride <= 1:
            return self
        steps = np.unique(self.step)
        kept = self.where(np.isin(self.step, steps[::stride]))
        return kept if len(kept) <= 2 * most else kept.where(np.arange(len(kept)) % -(-len(kept) // most) == 0)
