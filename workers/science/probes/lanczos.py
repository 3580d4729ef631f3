"""The largest eigenvalue, algebraic or in magnitude, of many symmetric operators at once, by Lanczos iteration.

Letters: N operators, n of them still iterating, P their dimension, m Lanczos steps made (one HVP each).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

HVP = Callable[[Tensor, Tensor], Tensor]
"""(vectors [n, P], rows [n]: which operator each vector goes to) -> products [n, P]. Rows may repeat between calls."""

MIN_HVPS = 4
"""Steps before a residual is believed: with fewer, the fresh part of the start has had no say."""

STEPS_PER_LOST_HALF = 1.5
MAX_MIN_HVPS = 12
"""Each halving of the overlap between Ritz vector and start asks for this many steps more, up to MAX_MIN_HVPS: a vector
that was followed is confirmed quickly, one that was only now found may have a larger one behind it. On the digits MLP
(six seeds, trials that train) this takes the converged points that are wrong by more than 5 % from 3 to 1 of 2,706
(every 10 steps) and from 4 to 2 of 858 (every 100), for a fifth more HVPs; the rest is what a start with next to
nothing of the top eigenvector in it costs, whatever the mixture."""

NUM_SIZES = 4
"""Pack sizes that compaction may use: each new shape costs the caller a trace, so there are few of them."""

CAPACITY_STEP = 8
"""Basis vectors are allocated this many at a time: most points need no more."""


@dataclass(frozen=True)
class EigenvalueEstimates:
    """Ritz pairs. Some eigenvalue lies within `residual` of `value`; that it is the largest no residual can tell.

    `value` [N] in float64, NaN where a product was not finite; else never above the true largest eigenvalue (but for
    rounding). `residual` [N] in float64: ||H v - value v|| of the unit Ritz vector v. `num_hvps` [N] in int64.
    `converged` [N]: residual <= relative_tolerance x |value|, after enough steps. `vector` [N, P]: the unit Ritz
    vectors, to start from next time; zero where there is none.
    """

    value: Tensor
    residual: Tensor
    num_hvps: Tensor
    converged: Tensor
    vector: Tensor


def largest_eigenvalue(
    hvp: HVP,
    start_NP: Tensor,
    allowed_N: Tensor,
    *,
    relative_tolerance: float,
    min_hvps: int = MIN_HVPS,
    by_magnitude: bool = False,
) -> EigenvalueEstimates:
    """Largest eigenvalue of each of N operators, by Lanczos with full re-orthogonalisation from `start_NP`.

    `by_magnitude`: the one of the largest magnitude, of either sign, which has converged only once the other end of the
    spectrum, taken as far out as its own residual says that it may reach, is no larger.

    Each operator stops by itself: converged, out of its allowance `allowed_N` (int64, HVPs), an invariant subspace, or
    a product that is not finite (value NaN; its neighbours do not notice). A start that is zero or not finite gives NaN
    for 0 HVPs. A residual certifies an eigenvalue, not the largest one: a start inside an invariant subspace never
    leaves it. So the start must hold a random part, and the iteration goes on for `min_hvps` steps even where the
    residual is small before, and for more where the Ritz vector has little of the start in it. `converged` needs both,
    the residual and the steps (an invariant subspace needs neither).

    Products and basis are in the start's dtype, the tridiagonal matrix in float64. Rounding limits the residual to
    about 1e-6 (float32) or 1e-14 (float64) of the norm. Cost: one HVP a step, 6 m P flops for the m-th step's
    re-orthogonalisation, m vectors of memory; the host waits for the device once a step.

    >>> diagonal = torch.tensor([5.0, 4.9, 1.0, -7.0], dtype=torch.float64)
    >>> found = largest_eigenvalue(
    ...     lambda vectors, rows: diagonal * vectors,
    ...     torch.ones(1, 4, dtype=torch.float64),
    ...     torch.tensor([9]),
    ...     relative_tolerance=0.01,
    ... )
    >>> round(found.value.item(), 6), found.num_hvps.item(), found.converged.item()
    (5.0, 4, True)
    """
    iteration = _Iteration(start_NP, allowed_N, relative_tolerance, min_hvps, by_magnitude=by_magnitude)
    while iteration.is_running:
        iteration.step(hvp)
    return iteration.estimates()


class _Iteration:
    """The rows that still iterate, with their bases; and what has been found of all N."""

    def __init__(
        self, start_NP: Tensor, allowed_N: Tensor, relative_tolerance: float, min_hvps: int, *, by_magnitude: bool
    ) -> None:
        self._by_magnitude = by_magnitude
        num_operators, self._dimension = start_NP.shape
        self._tolerance, self._min_hvps = relative_tolerance, min_hvps
        self._max_extra = max(0, MAX_MIN_HVPS - min_hvps)
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
        self._diagonal: list[Reals] = []  # m arrays [n]
        self._off: list[Reals] = []
        self._dropped: list[Reals] = []
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
            value=torch.from_numpy(self._value).to(device),
            residual=torch.from_numpy(self._residual).to(device),
            num_hvps=torch.from_numpy(self._num_hvps).to(device),
            converged=torch.from_numpy(self._converged).to(device),
            vector=self._vector_NP,
        )

    def _orthogonalise(self, vector: Tensor, product: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Diagonal and off-diagonal entry, and what symmetry forbids [n]; the product without the basis [n, P]."""
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
        columns = [np.stack(column, 1) for column in (self._diagonal, self._off, self._dropped)]  # [n, m] each
        is_finite: Flags = np.asarray(np.isfinite(columns).all((0, 2)))
        usable = is_finite & self._active
        diagonal, off, dropped = (np.where(usable[:, None], column, 0.0) for column in columns)
        values, vectors = _ritz_pairs(diagonal, off)
        value, coordinates, rivals = _chosen(values, vectors, off[:, -1], by_magnitude=self._by_magnitude)
        # Nothing left of the product: the basis spans an invariant subspace, and the Ritz pair is an eigenpair.
        rounding = self._breakdown * np.maximum(np.abs(diagonal).max(1), off.max(1))
        is_exact: Flags = (off[:, -1] <= rounding) | (m == self._dimension)
        # H Q = Q T + rest e_m^T + F, where F is what the tridiagonal form drops: rounding of the products, or an
        # operator that is not symmetric. It belongs to the residual, and tells a reading that is mostly rounding.
        noise = (dropped * np.abs(coordinates)).sum(1)
        residual = np.where(is_exact, 0.0, off[:, -1] * np.abs(coordinates[:, -1]))
        residual += np.where(is_exact & (noise <= rounding), 0.0, noise)

        is_converged = (
            is_finite & (is_exact | self._is_enough(coordinates)) & (residual <= self._tolerance * np.abs(value))
        )
        is_converged &= is_exact | (rivals <= (1 + self._tolerance) * np.abs(value))
        is_spent = m >= self._allowed[self._rows]
        finished: Flags = self._active & (~is_finite | is_exact | is_spent | is_converged)
        rows, good = self._rows[finished], is_finite[finished]
        self._num_hvps[rows] = m
        self._value[rows] = np.where(good, value[finished], np.nan)
        self._residual[rows] = np.where(good, residual[finished], np.nan)
        self._converged[rows] = is_converged[finished]
        self._keep_vectors(finished & is_finite, coordinates)
        self._active = self._active & ~finished

    def _is_enough(self, coordinates: Reals) -> Flags:
        """Whether the steps made are enough to believe a Ritz vector of these coordinates [n, m] in the basis."""
        halvings = -np.log2(np.maximum(np.abs(coordinates[:, 0]), 1e-6))  # the basis begins with the start
        enough: Flags = self._steps >= self._min_hvps + np.minimum(STEPS_PER_LOST_HALF * halvings, self._max_extra)
        return enough

    def _keep_vectors(self, which: Flags, coordinates: Reals) -> None:
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


def _ritz_pairs(diagonal: Reals, off: Reals) -> tuple[Reals, Reals]:
    """Eigenvalues [n, m], ascending, and unit eigenvectors [n, m, m] of each tridiagonal matrix."""
    size, m = diagonal.shape
    matrices = np.zeros((size, m, m))
    entry = np.arange(m)
    matrices[:, entry, entry] = diagonal
    matrices[:, entry[1:], entry[:-1]] = off[:, :-1]  # eigh reads the lower triangle
    values, vectors = np.linalg.eigh(matrices)
    return values, vectors


def _chosen(values: Reals, vectors: Reals, last_off: Reals, *, by_magnitude: bool) -> tuple[Reals, Reals, Reals]:
    """Eigenvalue [n] and eigenvector [n, m] asked for, and how large the other end may be [n], 0 if it is no rival."""
    top, coordinates, rivals = values[:, -1], vectors[:, :, -1], np.zeros(len(values))
    if not by_magnitude:
        return top, coordinates, rivals
    is_low: Flags = np.asarray(np.abs(values[:, 0]) > np.abs(top))
    value = np.where(is_low, values[:, 0], top)
    coordinates = np.where(is_low[:, None], vectors[:, :, 0], coordinates)
    other, other_end = np.where(is_low, top, values[:, 0]), np.where(is_low, vectors[:, -1, -1], vectors[:, -1, 0])
    if values.shape[1] > 1:
        rivals = np.abs(other) + last_off * np.abs(other_end)
    return value, coordinates, rivals
