"""Smoothness along the real update: how fast the gradient of one fixed batch changes between w_k and w_{k+1}."""

import torch
from torch import Tensor

from schemas.probes import SecantSmoothness
from workers.science.probes.fixed_batches import probe_name
from workers.science.protocols import ProbeReading, ProbeRequest, State


class SecantSmoothnessProbe:
    """||g_B(w_{k+1}) - g_B(w_k)|| / ||w_{k+1} - w_k||, both gradients on the same fixed batch B.

    On a quadratic this is ||H d|| / ||d|| <= ||H||, with equality where the step d is a top eigenvector. With different
    batches at the two ends it would measure gradient noise over step length instead (design/theory.md, section 3).
    A step of length zero, and what is not finite, gives NaN and `converged` False; there is no error bound. In float32
    a step d resolves the ratio to about 1e-7 ||g|| / ||d||. Cost: 2 gradients a batch.
    """

    needs_next = True
    needs_preconditioner = False

    def __init__(self, spec: SecantSmoothness) -> None:
        self.name = probe_name(spec)

    def init(self, n: int, num_parameters: int, dtype: torch.dtype, device: torch.device) -> State:
        """Nothing to remember."""
        return {}

    def measure(self, request: ProbeRequest, state: State) -> tuple[ProbeReading, State]:
        """One row per member: mean, lowest and highest ratio over the batches; loss and gradient at w_k."""
        assert request.next_params_nP is not None
        step_norm_n = norm_n(request.next_params_nP - request.params_nP)
        losses, ratios = [], []
        mean_gradient_nP = torch.zeros_like(request.params_nP)
        for batch in request.batches:
            loss_n, gradient_nP = request.objective.loss_and_grad(request.params_nP, batch)
            _, next_gradient_nP = request.objective.loss_and_grad(request.next_params_nP, batch)
            losses.append(loss_n.double())
            ratios.append(norm_n(next_gradient_nP - gradient_nP) / step_norm_n)  # 0 / 0 is NaN, as it should be
            mean_gradient_nP += gradient_nP / len(request.batches)
        ratio_nC = torch.stack(ratios, 1)
        is_good = request.alive_n & torch.isfinite(ratio_nC).all(1)
        nan_n = torch.full_like(step_norm_n, torch.nan)
        gradients = torch.full_like(request.hvps_left_n, 2 * len(request.batches))
        reading = ProbeReading(
            value=torch.where(is_good, ratio_nC.mean(1), nan_n),
            error=nan_n,
            lower=torch.where(is_good, ratio_nC.amin(1), nan_n),
            upper=torch.where(is_good, ratio_nC.amax(1), nan_n),
            converged=is_good,
            num_gradients=torch.where(request.alive_n, gradients, 0),
            num_hvps=torch.zeros_like(request.hvps_left_n),
            loss=torch.stack(losses, 1).mean(1),
            gradient_norm=norm_n(mean_gradient_nP),
            step_norm=step_norm_n,
        )
        return reading, state


def norm_n(vectors_nP: Tensor) -> Tensor:
    """2-norms [n], summed in float64."""
    norms_n: Tensor = torch.linalg.vector_norm(vectors_nP, dim=1, dtype=torch.float64)
    return norms_n
