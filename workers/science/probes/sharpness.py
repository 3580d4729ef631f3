"""Sharpness: the largest algebraic eigenvalue of the loss's Hessian on a fixed batch, followed along training."""

import torch
from torch import Tensor

from schemas.probes import Sharpness
from workers.science.probes.fixed_batches import probe_name
from workers.science.probes.lanczos import MIN_HVPS, EigenvalueEstimates, largest_eigenvalue
from workers.science.probes.secant_smoothness import norm_n
from workers.science.protocols import Batch, ProbeReading, ProbeRequest, State
from workers.science.streams import generator

GRADIENT_WEIGHT = 0.3
"""Share of the unit gradient in a warm start. The gradient lies mostly in the top eigenspace (arXiv 1812.04754) and is
at hand: without it, an eigenvalue that has overtaken the followed one since the last point is missed more often."""

RANDOM_WEIGHT = 0.1
"""Share of the unit random direction in any start, without which a start at an eigenvector would be believed."""


class SharpnessProbe:
    """Batched Lanczos from the last Ritz vector, the batch's gradient and a fresh random direction.

    The random direction is that of the probe's name, the batch and the step: the same for all trials, and no training
    stream is touched. What a member may spend (`hvps_left_n`) is pooled over its points: each point leaves MIN_HVPS for
    every batch of the points to come, and takes of the rest what it needs, `max_hvps` a batch at most. Without an
    allowance the value is NaN. Cost: one gradient and `num_hvps` HVPs. Bias: the value is never above the truth.
    """

    needs_next = False

    def __init__(self, spec: Sharpness) -> None:
        self.name = probe_name(spec)
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
            start_nP = self._start(warm_nCP[:, number], gradient_nP, request.step, number)
            reserve = MIN_HVPS * (len(request.batches) - number - 1)
            here_n = (allowed_n - spent_n - reserve).clamp(0, self._max_hvps)
            estimates = self._estimate(request, batch, start_nP, here_n)
            spent_n = spent_n + estimates.num_hvps
            losses.append(loss_n.double())
            found.append(estimates)
            warm_nCP[:, number] = _newest(estimates.vector, warm_nCP[:, number])
            mean_gradient_nP += gradient_nP / len(request.batches)
        reading = _reading(request, found, torch.stack(losses, 1).mean(1), norm_n(mean_gradient_nP), spent_n)
        return reading, {"warm": warm_nCP}

    def _allowance(self, request: ProbeRequest) -> Tensor:
        """HVPs [n] that this point may spend on all its batches."""
        later_n = request.points_left_n * (MIN_HVPS * len(request.batches))
        allowed_n = (request.hvps_left_n - later_n).clamp(0, self._max_hvps * len(request.batches))
        return torch.where(request.alive_n, allowed_n, 0)

    def _start(self, warm_nP: Tensor, gradient_nP: Tensor, step: int, number: int) -> Tensor:
        """Start vectors [n, P]: warm, gradient and random, or the last two where there is no warm vector yet."""
        stream = generator(0, "probe_direction", self.name, number, step)
        random_P = torch.randn(warm_nP.shape[1], generator=stream, dtype=warm_nP.dtype).to(warm_nP.device)
        random_P /= random_P.norm()
        return warm_nP + RANDOM_WEIGHT * random_P + GRADIENT_WEIGHT * _unit(gradient_nP)

    def _estimate(
        self, request: ProbeRequest, batch: Batch, start_nP: Tensor, allowed_n: Tensor
    ) -> EigenvalueEstimates:
        selected: dict[str, Tensor] = {}

        def hvp(vectors: Tensor, rows: Tensor) -> Tensor:
            # The rows change a few times per point only, so neither do their parameters.
            if selected.get("rows") is not rows:
                selected.update(rows=rows, params=request.params_nP.index_select(0, rows))
            return request.objective.hvp(selected["params"], batch, vectors)

        return largest_eigenvalue(hvp, start_nP, allowed_n, relative_tolerance=self._tolerance)


def _unit(vectors_nP: Tensor) -> Tensor:
    """Rows of length one; zero for a row that is zero or not finite."""
    unit_nP = torch.nn.functional.normalize(vectors_nP, dim=1)
    return torch.where(torch.isfinite(unit_nP).all(1, keepdim=True), unit_nP, 0.0)


def _newest(vectors_nP: Tensor, before_nP: Tensor) -> Tensor:
    """The new Ritz vector of each row, or the one before where nothing was found."""
    is_found = torch.isfinite(vectors_nP).all(1, keepdim=True) & (vectors_nP != 0).any(1, keepdim=True)
    return torch.where(is_found, vectors_nP, before_nP)


def _reading(
    request: ProbeRequest, found: list[EigenvalueEstimates], loss_n: Tensor, gradient_norm_n: Tensor, spent_n: Tensor
) -> ProbeReading:
    value_nC = torch.stack([estimates.value for estimates in found], 1)
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
