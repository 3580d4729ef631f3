"""An extreme eigenvalue of a symmetric operator on fixed batches, followed along training: what such probes share."""

from typing import Protocol

import torch
from torch import Tensor

from schemas.probes import ProbeBatch
from workers.science.probes.fixed_batches import probe_name
from workers.science.probes.lanczos import HVP, MIN_HVPS, EigenvalueEstimates, largest_eigenvalue
from workers.science.probes.secant_smoothness import norm_n
from workers.science.protocols import Batch, ProbeReading, ProbeRequest, Product, State
from workers.science.streams import generator

GRADIENT_WEIGHT = 0.3
"""Share of the unit gradient in a warm start. The gradient lies mostly in the top eigenspace (arXiv 1812.04754) and is
at hand: without it, an eigenvalue that has overtaken the followed one since the last point is missed more often."""

RANDOM_WEIGHT = 0.1
"""Share of the unit random direction in any start, without which a start at an eigenvector would be believed."""


class EigenvalueSpec(Protocol):
    """The fields that the specs of such probes have in common (schemas.probes)."""

    @property
    def relative_tolerance(self) -> float:
        """Of the residual."""

    @property
    def max_hvps(self) -> int:
        """Per batch of a point."""

    @property
    def batch(self) -> ProbeBatch:
        """Which examples."""


class EigenvalueProbe:
    """Batched Lanczos from the last Ritz vector, the batch's gradient and a fresh random direction.

    A kind says what is multiplied (`product`), which end it wants (`sign`: 1 the largest, -1 the smallest eigenvalue;
    `by_magnitude`), and what of the gradient a start holds. The random direction is that of the probe's name, the batch
    and the step: the same for all trials, and no training stream is touched. What a member may spend (`hvps_left_n`) is
    pooled over its points: each point leaves MIN_HVPS for every batch of the points to come, and takes of the rest what
    it needs, `max_hvps` a batch at most. Without an allowance the value is NaN. Cost: one gradient and `num_hvps`
    products a batch. Bias: a value is never beyond the true end of the spectrum (but for rounding). `error` is the
    residual, and what rounding took from the operator's symmetry with it.
    """

    needs_next = False
    needs_preconditioner = False
    sign = 1.0
    by_magnitude = False
    gradient_weight = GRADIENT_WEIGHT

    def __init__(self, spec: EigenvalueSpec) -> None:
        self.name = probe_name(spec)  # type: ignore[arg-type]
        self._tolerance = spec.relative_tolerance
        self._max_hvps = spec.max_hvps
        self._num_batches = spec.batch.count

    def init(self, n: int, num_parameters: int, dtype: torch.dtype, device: torch.device) -> State:
        """`warm` [n, C, P]: the last Ritz vector for each of the C batches; zero before the first."""
        return {"warm": torch.zeros(n, self._num_batches, num_parameters, dtype=dtype, device=device)}

    def measure(self, request: ProbeRequest, state: State) -> tuple[ProbeReading, State]:
        """One row per member: mean, lowest and highest eigenvalue over the batches, the largest residual as error."""
        allowed_n = self._allowance(request)
        spent_n = torch.zeros_like(allowed_n)
        losses, found = [], []
        warm_nCP = state["warm"].clone()
        mean_gradient_nP = torch.zeros_like(request.params_nP)
        for number, batch in enumerate(request.batches):
            loss_n, gradient_nP = request.objective.loss_and_grad(request.params_nP, batch)
            start_nP = self._start(warm_nCP[:, number], self.likely(request, gradient_nP), request.step, number)
            reserve = MIN_HVPS * (len(request.batches) - number - 1)
            here_n = (allowed_n - spent_n - reserve).clamp(0, self._max_hvps)
            estimates = self._estimate(request, batch, start_nP, here_n)
            spent_n = spent_n + estimates.num_hvps
            losses.append(loss_n.double())
            found.append(estimates)
            warm_nCP[:, number] = _newest(estimates.vector, warm_nCP[:, number])
            mean_gradient_nP += gradient_nP / len(request.batches)
        loss_n = torch.stack(losses, 1).mean(1)
        reading = self._reading(request, found, loss_n, norm_n(mean_gradient_nP), spent_n)
        return reading, {"warm": warm_nCP}

    def product(self, request: ProbeRequest, rows: Tensor, batch: Batch) -> Product:
        """The operator of some rows of the request: vectors [n, P] -> products [n, P]."""
        return request.objective.hvp_at(request.params_nP.index_select(0, rows), batch)

    def likely(self, request: ProbeRequest, gradient_nP: Tensor) -> Tensor:
        """A direction [n, P] in which the eigenvector may lie."""
        return gradient_nP

    def _allowance(self, request: ProbeRequest) -> Tensor:
        """HVPs [n] that this point may spend on all its batches."""
        later_n = request.points_left_n * (MIN_HVPS * len(request.batches))
        allowed_n = (request.hvps_left_n - later_n).clamp(0, self._max_hvps * len(request.batches))
        return torch.where(request.alive_n, allowed_n, 0)

    def _start(self, warm_nP: Tensor, likely_nP: Tensor, step: int, number: int) -> Tensor:
        """Start vectors [n, P]: warm, likely and random, or the last two where there is no warm vector yet."""
        stream = generator(0, "probe_direction", self.name, number, step)
        random_P = torch.randn(warm_nP.shape[1], generator=stream, dtype=warm_nP.dtype).to(warm_nP.device)
        random_P /= random_P.norm()
        start_nP = warm_nP + RANDOM_WEIGHT * random_P
        return start_nP + self.gradient_weight * _unit(likely_nP) if self.gradient_weight else start_nP

    def _estimate(
        self, request: ProbeRequest, batch: Batch, start_nP: Tensor, allowed_n: Tensor
    ) -> EigenvalueEstimates:
        selected: dict[str, Product] = {}
        chosen: dict[str, Tensor] = {}

        def product(vectors: Tensor, rows: Tensor) -> Tensor:
            # The rows change a few times per point only, so neither do their parameters.
            if chosen.get("rows") is not rows:
                chosen["rows"], selected["product"] = rows, self.product(request, rows, batch)
            products = selected["product"](vectors)
            return products if self.sign > 0 else -products

        operator: HVP = product
        return largest_eigenvalue(
            operator, start_nP, allowed_n, relative_tolerance=self._tolerance, by_magnitude=self.by_magnitude
        )

    def _value(self, estimates: EigenvalueEstimates) -> Tensor:
        """What is reported [n] of the eigenvalue that was found."""
        return estimates.value.abs() if self.by_magnitude else self.sign * estimates.value

    def _reading(
        self,
        request: ProbeRequest,
        found: list[EigenvalueEstimates],
        loss_n: Tensor,
        gradient_norm_n: Tensor,
        spent_n: Tensor,
    ) -> ProbeReading:
        value_nC = torch.stack([self._value(estimates) for estimates in found], 1)
        residual_nC = torch.stack([estimates.residual for estimates in found], 1)
        return ProbeReading(
            value=value_nC.mean(1),  # NaN in one batch is NaN in the row: no batch is dropped
            error=residual_nC.amax(1),
            lower=value_nC.amin(1),
            upper=value_nC.amax(1),
            converged=torch.stack([estimates.converged for estimates in found], 1).all(1),
            num_gradients=torch.where(request.alive_n, len(found), 0),
            num_hvps=spent_n,
            loss=loss_n,
            gradient_norm=gradient_norm_n,
            step_norm=torch.full_like(gradient_norm_n, torch.nan),
        )


def _unit(vectors_nP: Tensor) -> Tensor:
    """Rows of length one; zero for a row that is zero or not finite."""
    unit_nP = torch.nn.functional.normalize(vectors_nP, dim=1)
    return torch.where(torch.isfinite(unit_nP).all(1, keepdim=True), unit_nP, 0.0)


def _newest(vectors_nP: Tensor, before_nP: Tensor) -> Tensor:
    """The new Ritz vector of each row, or the one before where nothing was found."""
    is_found = torch.isfinite(vectors_nP).all(1, keepdim=True) & (vectors_nP != 0).any(1, keepdim=True)
    return torch.where(is_found, vectors_nP, before_nP)
