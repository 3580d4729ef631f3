"""The largest algebraic eigenvalue of many symmetric operators at once, by Lanczos iteration.

Letters: N operators, n of them still iterating, P their dimension, m Lanczos steps made (one HVP each).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HVP = Callable[[Tensor, Tensor], Tensor]
"""(vectors [n, P], rows [n]: which operator each vector goes to) -> products [n, P]. Rows may repeat between calls."""

MIN_HVPS = 4
"""Steps before a residual is believed: fewer, and the fresh part of the start has had no say (see `largest_eigenvalue`)."""

NUM_SIZES = 4
"""Pack sizes that compaction may use: each new shape costs the caller a trace, so there are few of them."""

CAPACITY_STEP = 8
"""Basis vectors are allocated this many at a time: most points need no more."""


@dataclass(frozen=True)
class EigenvalueEstimates:
    """Ritz pairs. Some eigenvalue lies within `residual_N` of `value_N`; that it is the largest no residual can tell."""

    value_N: Tensor
    """float64, never above the true largest eigenvalue (but for rounding); NaN where a product was not finite."""
    residual_N: Tensor
    """float64, ||H v - value v|| for the unit Ritz vector v."""
    num_hvps_N: Tensor
    """int64"""
    converged_N: Tensor
    """bool: residual <= relative_tolerance x |value|."""
    vector_NP: Tensor
    """The unit Ritz vectors, to start from next time; zero where there is none."""


def largest_eigenvalue(
    hvp: HVP, start_NP: Tensor, allowed_N: Tensor, *, relative_tolerance: float, min_hvps: int = MIN_HVPS
) -> EigenvalueEstimates:
    """Largest eigenvalue of each of N operators, by Lanczos with full re-orthogonalisation from `start_NP`.

    Each operator stops by itself: converged, out of its allowance `allowed_N` (int64, HVPs), an invariant subspace, or
    a product that is not finite (value NaN; its neighbours do not notice). A start that is zero or not finite gives NaN
    for 0 HVPs. A residual certifies an eigenvalue, not the largest one: a start inside an invariant subspace never
    leaves it. So the start must hold a random part, and the iteration goes on for `min_hvps` steps even where the
    residual is small before.

    Products and basis are in the start's dtype, the tridiagonal matrix in float64. Rounding limits the residual to
    about 1e-6 (float32) or 1e-14 (float64) of the norm. Cost: one HVP a step, 6 m P flops for the m-th step's
    re-orthogonalisation, m vectors of memory; the host waits for the device once a step.

    >>> diagonal = torch.tensor([5.0, 4.9, 1.0, -7.0], dtype=torch.float64)
    >>> found = largest_eigenvalue(
    ...     lambda v, rows: diagonal * v, torch.ones(1, 4, dtype=torch.float64), torch.tensor([9]), relative_tolerance=0.01
    ... )
    >>> round(found.value_N.item(), 6), found.num_hvps_N.item(), found.converged_N.item()
    (5.0, 4, True)
    """
    iteration = _Iteration(start_NP, allowed_N, relative_tolerance, min_hvps)
    while iteration.is_running:
        iteration.step(hvp)
    return iteration.estimates()


class _Iteration:
    """The rows that still iterate, with their bases; and what has been found of all N."""

    def __init__(self, start_NP: Tensor, allowed_N: Tensor, relative_tolerance: float, min_hvps: int) -> None:
        num_operators, self._dimension = start_NP.shape
        self._tolerance, self._min_hvps = relative_tolerance, min_hvps
        self._allowed = allowed_N.cpu().numpy().astype(np.int64)
        self._value = np.full(num_operators, np.nan)
        self._residual = np.full(num_operators, np.nan)
        self._num_hvps = np.zeros(num_operators, dtype=np.int64)
        self._converged = np.zeros(num_operators, dtype=bool)
        self._vector_NP = torch.zeros_like(start_NP)
        self._size_step = max(1, -(-num_operators // NUM_SIZES))
        self._breakdown = 50 * torch.finfo(start_NP.dtype).eps

        norm_N = torch.linalg.vector_norm(start_NP, dim=1)
        usable = torch.isfinite(norm_N).cpu().numpy() & (norm_N > 0).cpu().numpy() & (self._allowed > 0)
        self._rows = np.arange(num_operators)
        self._active = usable
        self._steps = 0
        self._basis = (start_NP / norm_N[:, None])[:, None]  # [n, capacity, P]
        self._diagonal: list[NDArray[np.float64]] = []  # m arrays [n]
        self._off: list[NDArray[np.float64]] = []
        self._dropped: list[NDArray[np.float64]] = []
        self._compact()

    @property
    def is_running(self) -> bool:
        """Whether any operator needs another product."""
        return bool(self._active.any())

    def step(self, hvp: HVP) -> None:
        """One product for every row, one more column of every basis, and the Ritz pairs that follow."""
        vector = self._basis[:, self._steps].contiguous()  # one layout, so that the caller's traces fit
        product = hvp(vector, self._rows_on_device)
        diagonal, off, dropped, rest = self._orthogonalise(vector, product)
        self._steps += 1
        # One copy to the host a step: whether to go on is decided there, the rest stays on the device.
        entries = torch.stack((diagonal, off, dropped)).to("cpu", torch.float64).numpy()
        for column, entry in zip((self._diagonal, self._off, self._dropped), entries, strict=True):
            column.append(entry)
        self._settle()
        if self.is_running:
            self._append(rest, off)
            self._compact()

    def estimates(self) -> EigenvalueEstimates:
        """What was found."""
        device = self._vector_NP.device
        return EigenvalueEstimates(
            value_N=torch.from_numpy(self._value).to(device),
            residual_N=torch.from_numpy(self._residual).to(device),
            num_hvps_N=torch.from_numpy(self._num_hvps).to(device),
            converged_N=torch.from_numpy(self._converged).to(device),
            vector_NP=self._vector_NP,
        )

    def _orthogonalise(self, vector: Tensor, product: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Diagonal and off-diagonal entry, what symmetry says cannot be there [n]; the product without the basis [n, P]."""
        basis = self._basis[:, : self._steps + 1]
        diagonal = torch.linalg.vecdot(vector, product)
        rest = torch.addcmul(product, vector, diagonal[:, None], value=-1)
        # The recurrence takes out two basis vectors, this pass the rounding left along all of them; together they are
        # the two passes that full re-orthogonalisation needs.
        if self._steps > 0:
            last_off = torch.from_numpy(self._off[-1]).to(rest)
            rest = rest.addcmul_(self._basis[:, self._steps - 1], last_off[:, None], value=-1)
        along = torch.bmm(basis, rest[:, :, None])
        rest = torch.baddbmm(rest[:, None], along.transpose(1, 2), basis, alpha=-1)[:, 0]
        dropped = torch.linalg.vector_norm(along[:, :-1, 0], dim=1)
        return diagonal + along[:, -1, 0], torch.linalg.vector_norm(rest, dim=1), dropped, rest

    def _settle(self) -> None:
        """Decides which rows are finished, and keeps what they found."""
        m = self._steps
        diagonal, off, dropped = (np.stack(column, 1) for column in (self._diagonal, self._off, self._dropped))  # [n, m]
        is_finite = np.isfinite(diagonal + off + dropped).all(1)
        scale = np.maximum(np.abs(diagonal).max(1), np.abs(off).max(1))
        # Nothing left of the product: the basis spans an invariant subspace, and the Ritz pair is an eigenpair.
        is_exact = (off[:, -1] <= self._breakdown * scale) | (m == self._dimension)
        value, coordinates = _top_ritz_pair(diagonal, off, is_finite & self._active)
        # H Q = Q T + rest e_m^T + F, where F is what the tridiagonal form drops: rounding of the products, or an
        # operator that is not symmetric. It belongs to the residual, and tells a reading that is mostly rounding.
        noise = (dropped * np.abs(coordinates)).sum(1)
        residual = np.where(is_exact, 0.0, off[:, -1] * np.abs(coordinates[:, -1]))
        residual += np.where(is_exact & (noise <= self._breakdown * scale), 0.0, noise)
        is_small = residual <= self._tolerance * np.abs(value)
        out_of_allowance = m >= self._allowed[self._rows]
        finished = self._active & (~is_finite | is_exact | out_of_allowance | (is_small & (m >= self._min_hvps)))
        if not finished.any():
            return
        rows, good = self._rows[finished], is_finite[finished]
        self._num_hvps[rows] = m
        self._value[rows] = np.where(good, value[finished], np.nan)
        self._residual[rows] = np.where(good, residual[finished], np.nan)
        self._converged[rows] = good & is_small[finished]
        self._keep_vectors(finished & is_finite, coordinates)
        self._active = self._active & ~finished

    def _keep_vectors(self, which: NDArray[np.bool_], coordinates: NDArray[np.float64]) -> None:
        if not which.any():
            return
        index = torch.from_numpy(np.flatnonzero(which)).to(self._basis.device)
        weights = torch.from_numpy(coordinates[which]).to(self._basis)
        basis = self._basis[:, : self._steps].index_select(0, index)
        vectors = torch.bmm(weights[:, None], basis)[:, 0]
        self._vector_NP.index_copy_(0, torch.from_numpy(self._rows[which]).to(index.device), vectors)

    def _append(self, rest: Tensor, off: Tensor) -> None:
        if self._steps == self._basis.shape[1]:
            size, capacity, dimension = self._basis.shape
            grown = self._basis.new_empty(size, capacity - capacity % CAPACITY_STEP + CAPACITY_STEP, dimension)
            grown[:, :capacity] = self._basis
            self._basis = grown
        torch.div(rest, off[:, None], out=self._basis[:, self._steps])

    def _compact(self) -> None:
        """Drops finished rows, down to the next of a few sizes; the ones that stay to fill it up are never read."""
        target = -(-int(self._active.sum()) // self._size_step) * self._size_step
        if target < len(self._rows):
            keep = np.sort(np.argsort(~self._active, kind="stable")[:target])
            index = torch.from_numpy(keep).to(self._basis.device)
            self._basis = self._basis.index_select(0, index)
            self._rows, self._active = self._rows[keep], self._active[keep]
            self._diagonal = [entries[keep] for entries in self._diagonal]
            self._off = [entries[keep] for entries in self._off]
            self._dropped = [entries[keep] for entries in self._dropped]
        self._rows_on_device = torch.from_numpy(self._rows).to(self._basis.device)


def _top_ritz_pair(
    diagonal: NDArray[np.float64], off: NDArray[np.float64], which: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Top eigenvalue [n] and unit eigenvector [n, m] of each tridiagonal matrix; zeros for rows not in `which`."""
    size, m = diagonal.shape
    matrices = np.zeros((size, m, m))
    entry = np.arange(m)
    matrices[:, entry, entry] = np.where(which[:, None], diagonal, 0.0)
    matrices[:, entry[1:], entry[:-1]] = np.where(which[:, None], off[:, :-1], 0.0)  # eigh reads the lower triangle
    values, vectors = np.linalg.eigh(matrices)
    return values[:, -1], vectors[:, :, -1]
