"""Gradient noise: how far the gradient of a batch is from the gradient, and the batch size at which that matters."""

import torch
from torch import Tensor

from schemas.probes import GradientNoise
from workers.science.probes.fixed_batches import probe_name
from workers.science.protocols import ProbeReading, ProbeRequest, State

Pair = tuple[Tensor, Tensor]


class GradientNoiseProbe:
    """From the gradients g_i of C probe batches of B examples each, two rows.

    `name.variance`: E ||g_B - grad||^2, by sum ||g_i - mean||^2 / (C - 1): what the ABC condition
    A (f - f*) + B ||grad||^2 + C bounds (workers.laws.gradient_noise fits it over the rows of a study). `name.scale`:
    the simple noise scale B variance / ||grad||^2 in examples (arXiv 1812.06162, appendix A.1), with
    ||grad||^2 = ||mean||^2 - variance / C; below it a larger batch saves steps. Both are unbiased but for the quotient.
    `error` is a standard error, over the batches and by the jackknife (which needs three). `converged`: finite and more
    than its error; a scale also needs a gradient that stands out of the noise. Lowest and highest are those of the
    single batches. Batches are drawn without replacement, so that a whole set has no noise. Cost: a gradient a batch.
    """

    needs_next = False
    needs_preconditioner = False

    def __init__(self, spec: GradientNoise) -> None:
        self.name = probe_name(spec)

    def init(self, n: int, num_parameters: int, dtype: torch.dtype, device: torch.device) -> State:
        """Nothing to remember."""
        return {}

    def measure(self, request: ProbeRequest, state: State) -> tuple[ProbeReading, State]:
        """Two rows per member; loss and gradient at w_k, over all batches together."""
        found = [request.objective.loss_and_grad(request.params_nP, batch) for batch in request.batches]
        gradients_nCP = torch.stack([gradient_nP for _, gradient_nP in found], 1).double()
        loss_n = torch.stack([loss_n.double() for loss_n, _ in found], 1).mean(1)
        mean_nP = gradients_nCP.mean(1)
        apart_nC = (gradients_nCP - mean_nP[:, None]).square().sum(2)
        gram_nCC = gradients_nCP @ gradients_nCP.transpose(1, 2)
        size = request.batches[0].size
        scale = _scale(gram_nCC, size), _jackknife(gram_nCC, size)
        context = _Context(request, loss_n, mean_nP.norm(dim=1))
        count = len(request.batches)
        share_nC = apart_nC * (count / (count - 1))
        variance = share_nC.mean(1), share_nC.std(1) / count**0.5
        rows = {
            "variance": context.row(variance, share_nC, num_gradients=count),
            "scale": context.row(scale, scale[0][:, None], num_gradients=0),
        }
        return ProbeReading(**(vars(rows["variance"]) | {"points": rows})), state


class _Context:
    """What both rows have in common."""

    def __init__(self, request: ProbeRequest, loss_n: Tensor, gradient_norm_n: Tensor) -> None:
        self._request, self._loss_n, self._gradient_norm_n = request, loss_n, gradient_norm_n

    def row(self, estimate: Pair, parts_nC: Tensor, *, num_gradients: int) -> ProbeReading:
        """Of a value with its error, and what the single batches say."""
        value_n, error_n = estimate
        alive_n = self._request.alive_n
        is_good = alive_n & torch.isfinite(value_n)
        nan_n = torch.full_like(value_n, torch.nan)
        zeros_n = torch.zeros_like(self._request.hvps_left_n)
        return ProbeReading(
            value=torch.where(is_good, value_n, nan_n),
            error=torch.where(is_good, error_n, nan_n),
            lower=torch.where(is_good, parts_nC.amin(1), nan_n),
            upper=torch.where(is_good, parts_nC.amax(1), nan_n),
            converged=is_good & (error_n <= value_n),
            num_gradients=torch.where(alive_n, zeros_n + num_gradients, zeros_n),
            num_hvps=zeros_n,
            loss=self._loss_n,
            gradient_norm=self._gradient_norm_n,
            step_norm=nan_n,
        )


def _scale(gram_nCC: Tensor, size: int) -> Tensor:
    """The noise scale [n] from the gradients' scalar products; NaN where the gradient does not stand out."""
    count = gram_nCC.shape[-1]
    square_n = gram_nCC.mean((-2, -1))
    variance_n = (gram_nCC.diagonal(dim1=-2, dim2=-1).sum(-1) - count * square_n) / (count - 1)
    of_gradient_n = square_n - variance_n / count
    return torch.where(of_gradient_n > 0, size * variance_n / of_gradient_n, torch.nan)


def _jackknife(gram_nCC: Tensor, size: int) -> Tensor:
    """Its standard error [n]."""
    count = gram_nCC.shape[-1]
    if count < 3:
        return torch.full_like(gram_nCC[:, 0, 0], torch.nan)
    kept = [[other for other in range(count) if other != left] for left in range(count)]
    without_nC = torch.stack([_scale(gram_nCC[:, rows][:, :, rows], size) for rows in kept], 1)
    spread_n = (without_nC - without_nC.mean(1, keepdim=True)).square().sum(1)
    return ((count - 1) / count * spread_n).sqrt()
