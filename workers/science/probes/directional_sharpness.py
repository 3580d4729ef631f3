"""Directional sharpness: the curvature along the update that training makes."""

import torch

from schemas.probes import DirectionalSharpness
from workers.science.probes.fixed_batches import probe_name
from workers.science.probes.secant_smoothness import norm_n
from workers.science.protocols import ProbeReading, ProbeRequest, State


class DirectionalSharpnessProbe:
    """d^T H d / ||d||^2 at w_k along the update d = w_{k+1} - w_k: never above the sharpness.

    On a quadratic the loss falls along d while lr times this is below 2 for plain gradient descent. `error`: what
    rounding takes from one product, eps ||H d|| / ||d||. A step of length zero gives NaN and `converged` False. Cost: a
    gradient and one HVP a batch.
    """

    needs_next = True
    needs_preconditioner = False

    def __init__(self, spec: DirectionalSharpness) -> None:
        self.name = probe_name(spec)

    def init(self, n: int, num_parameters: int, dtype: torch.dtype, device: torch.device) -> State:
        """Nothing to remember."""
        return {}

    def measure(self, request: ProbeRequest, state: State) -> tuple[ProbeReading, State]:
        """One row per member: mean, lowest and highest value over the batches; loss and gradient at w_k."""
        assert request.next_params_nP is not None
        step_nP = request.next_params_nP - request.params_nP
        step_norm_n = norm_n(step_nP)
        unit_nP = step_nP / step_norm_n[:, None].to(step_nP.dtype)
        losses, values, errors = [], [], []
        mean_gradient_nP = torch.zeros_like(request.params_nP)
        for batch in request.batches:
            loss_n, gradient_nP = request.objective.loss_and_grad(request.params_nP, batch)
            product_nP = request.objective.hvp(request.params_nP, batch, unit_nP)
            losses.append(loss_n.double())
            values.append((unit_nP.double() * product_nP).sum(1))
            errors.append(torch.finfo(step_nP.dtype).eps * norm_n(product_nP))
            mean_gradient_nP += gradient_nP / len(request.batches)
        value_nC = torch.stack(values, 1)
        is_good = request.alive_n & torch.isfinite(value_nC).all(1)
        nan_n = torch.full_like(step_norm_n, torch.nan)
        counts_n = torch.full_like(request.hvps_left_n, len(request.batches))
        spent_n = torch.where(request.alive_n, counts_n, 0)
        reading = ProbeReading(
            value=torch.where(is_good, value_nC.mean(1), nan_n),
            error=torch.where(is_good, torch.stack(errors, 1).amax(1), nan_n),
            lower=torch.where(is_good, value_nC.amin(1), nan_n),
            upper=torch.where(is_good, value_nC.amax(1), nan_n),
            converged=is_good,
            num_gradients=spent_n,
            num_hvps=spent_n,
            loss=torch.stack(losses, 1).mean(1),
            gradient_norm=norm_n(mean_gradient_nP),
            step_norm=step_norm_n,
        )
        return reading, state
