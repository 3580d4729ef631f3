"""The different-batch secant: gradient noise over step length, which some papers plot as smoothness."""

import torch

from schemas.probes import SecantNoise
from workers.science.probes.fixed_batches import probe_name
from workers.science.probes.secant_smoothness import norm_n
from workers.science.protocols import ProbeReading, ProbeRequest, State


class SecantNoiseProbe:
    """||g_B'(w_{k+1}) - g_B(w_k)|| / ||w_{k+1} - w_k||, B' another probe batch than B: it reads noise, not curvature.

    The estimator of arXiv 2510.03164, section 3.2. On a quadratic whose gradients have noise sigma in each of P
    coordinates its square is ||H d||^2 / ||d||^2 + 2 P sigma^2 / ||d||^2 in the mean, so that it goes as one over the
    rate, whatever the curvature. `error` is the noise in it, ||g_B'(w_{k+1}) - g_B(w_{k+1})|| / ||d||. `converged` is
    False where that is more than the same-batch secant beside it: the reading is noise-dominated, and is none of
    smoothness. Mean, lowest and highest over the pairs (B, next B). Cost: 2 gradients a batch.
    """

    needs_next = True
    needs_preconditioner = False

    def __init__(self, spec: SecantNoise) -> None:
        self.name = probe_name(spec)

    def init(self, n: int, num_parameters: int, dtype: torch.dtype, device: torch.device) -> State:
        """Nothing to remember."""
        return {}

    def measure(self, request: ProbeRequest, state: State) -> tuple[ProbeReading, State]:
        """One row per member; loss and gradient at w_k."""
        assert request.next_params_nP is not None
        step_norm_n = norm_n(request.next_params_nP - request.params_nP)
        before = [request.objective.loss_and_grad(request.params_nP, batch) for batch in request.batches]
        after = [request.objective.loss_and_grad(request.next_params_nP, batch)[1] for batch in request.batches]
        others = after[1:] + after[:1]
        reads, noises, curvatures = [], [], []
        for (_, gradient_nP), there_nP, other_nP in zip(before, after, others, strict=True):
            reads.append(norm_n(other_nP - gradient_nP) / step_norm_n)
            noises.append(norm_n(other_nP - there_nP) / step_norm_n)
            curvatures.append(norm_n(there_nP - gradient_nP) / step_norm_n)
        read_nC, noise_n = torch.stack(reads, 1), torch.stack(noises, 1).mean(1)
        is_good = request.alive_n & torch.isfinite(read_nC).all(1)
        nan_n = torch.full_like(step_norm_n, torch.nan)
        gradients_n = torch.full_like(request.hvps_left_n, 2 * len(request.batches))
        mean_gradient_nP = torch.stack([gradient_nP for _, gradient_nP in before]).mean(0)
        reading = ProbeReading(
            value=torch.where(is_good, read_nC.mean(1), nan_n),
            error=torch.where(is_good, noise_n, nan_n),
            lower=torch.where(is_good, read_nC.amin(1), nan_n),
            upper=torch.where(is_good, read_nC.amax(1), nan_n),
            converged=is_good & (noise_n <= torch.stack(curvatures, 1).mean(1)),
            num_gradients=torch.where(request.alive_n, gradients_n, 0),
            num_hvps=torch.zeros_like(request.hvps_left_n),
            loss=torch.stack([loss_n.double() for loss_n, _ in before], 1).mean(1),
            gradient_norm=norm_n(mean_gradient_nP),
            step_norm=step_norm_n,
        )
        return reading, state
