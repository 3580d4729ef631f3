"""Smoothness along the real update: how fast the gradient of one fixed batch changes between w_k and w_{k+1}."""

import torch
from torch import Tensor

from schemas.probes import FRACTIONS, SecantPoint, SecantSmoothness
from workers.science.probes.fixed_batches import probe_name
from workers.science.protocols import ProbeReading, ProbeRequest, State


class SecantSmoothnessProbe:
    """max over w of ||g_B(w) - g_B(w_k)|| / ||w - w_k||, w on the way to w_{k+1}, gradients on the same fixed batch B.

    Points (arXiv 1905.11881 and its code): the endpoint w_{k+1}; the midpoint; the grid 1/6 ... 5/6 of the way, of
    which the largest counts. For x^4 from 2 to 1 they read 28, 37 and 44.111, where the curvature at 2 is 48. On a
    quadratic all of them are ||H d|| / ||d|| <= ||H||, with equality where the step d is a top eigenvector. With
    different batches at the two ends it would measure gradient noise over step length instead (secant_noise).

    `error` is what rounding takes: eps (||g_B(w)|| + ||g_B(w_k)||) / ||w - w_k||. `converged`: finite, and more than
    its error. A step of length zero gives NaN. Cost: a gradient at w_k and one at each w, a batch.
    """

    needs_next = True
    needs_preconditioner = False

    def __init__(self, spec: SecantSmoothness) -> None:
        self.name = probe_name(spec)
        self._points = spec.all_points

    def init(self, n: int, num_parameters: int, dtype: torch.dtype, device: torch.device) -> State:
        """Nothing to remember."""
        return {}

    def measure(self, request: ProbeRequest, state: State) -> tuple[ProbeReading, State]:
        """One row per member and point: mean, lowest and highest ratio over the batches; loss and gradient at w_k."""
        assert request.next_params_nP is not None
        fractions = list(dict.fromkeys(fraction for point in self._points for fraction in FRACTIONS[point]))
        losses = []
        found: dict[float, list[tuple[Tensor, Tensor]]] = {fraction: [] for fraction in fractions}
        mean_gradient_nP = torch.zeros_like(request.params_nP)
        for batch in request.batches:
            loss_n, gradient_nP = request.objective.loss_and_grad(request.params_nP, batch)
            losses.append(loss_n.double())
            for fraction in fractions:
                at_nP = _on_the_way(request.params_nP, request.next_params_nP, fraction)
                _, there_nP = request.objective.loss_and_grad(at_nP, batch)
                found[fraction].append(_ratio(gradient_nP, there_nP, norm_n(at_nP - request.params_nP)))
            mean_gradient_nP += gradient_nP / len(request.batches)
        context = _Context(request, torch.stack(losses, 1).mean(1), norm_n(mean_gradient_nP))
        rows: dict[str, ProbeReading] = {}
        paid: set[float] = set()
        for point in self._points:
            new = set(FRACTIONS[point]) - paid
            rows[point] = context.row(*_largest(found, point), num_gradients=len(new) + (not paid))
            paid |= new
        whole = context.row(*_largest(found, self._points[0]), num_gradients=1 + len(fractions))
        if len(rows) == 1:
            return whole, state
        return ProbeReading(**(vars(whole) | {"points": rows})), state


class _Context:
    """What the rows of one call have in common."""

    def __init__(self, request: ProbeRequest, loss_n: Tensor, gradient_norm_n: Tensor) -> None:
        assert request.next_params_nP is not None
        self._request, self._loss_n, self._gradient_norm_n = request, loss_n, gradient_norm_n
        self._step_norm_n = norm_n(request.next_params_nP - request.params_nP)

    def row(self, ratio_nC: Tensor, error_nC: Tensor, *, num_gradients: int) -> ProbeReading:
        """Of ratios and their errors over the C batches; `num_gradients`: on each of them."""
        request = self._request
        is_good = request.alive_n & torch.isfinite(ratio_nC).all(1)
        nan_n = torch.full_like(self._step_norm_n, torch.nan)
        gradients = torch.full_like(request.hvps_left_n, num_gradients * len(request.batches))
        value_n, error_n = ratio_nC.mean(1), error_nC.amax(1)
        return ProbeReading(
            value=torch.where(is_good, value_n, nan_n),
            error=torch.where(is_good, error_n, nan_n),
            lower=torch.where(is_good, ratio_nC.amin(1), nan_n),
            upper=torch.where(is_good, ratio_nC.amax(1), nan_n),
            converged=is_good & (error_n <= value_n),
            num_gradients=torch.where(request.alive_n, gradients, 0),
            num_hvps=torch.zeros_like(request.hvps_left_n),
            loss=self._loss_n,
            gradient_norm=self._gradient_norm_n,
            step_norm=self._step_norm_n,
        )


def norm_n(vectors_nP: Tensor) -> Tensor:
    """2-norms [n], summed in float64."""
    norms_n: Tensor = torch.linalg.vector_norm(vectors_nP, dim=1, dtype=torch.float64)
    return norms_n


def _on_the_way(params_nP: Tensor, next_params_nP: Tensor, fraction: float) -> Tensor:
    return next_params_nP if fraction == 1.0 else params_nP + fraction * (next_params_nP - params_nP)


def _ratio(gradient_nP: Tensor, there_nP: Tensor, distance_n: Tensor) -> tuple[Tensor, Tensor]:
    """The ratio [n] and its rounding error [n]; 0 / 0 is NaN, as it should be."""
    rounding_n = torch.finfo(gradient_nP.dtype).eps * (norm_n(gradient_nP) + norm_n(there_nP))
    return norm_n(there_nP - gradient_nP) / distance_n, rounding_n / distance_n


def _largest(found: dict[float, list[tuple[Tensor, Tensor]]], point: SecantPoint) -> tuple[Tensor, Tensor]:
    """Over the fractions of a point: ratios and errors [n, C]."""
    pairs = [found[fraction] for fraction in FRACTIONS[point]]
    ratio_FnC = torch.stack([torch.stack([ratio_n for ratio_n, _ in batches], 1) for batches in pairs])
    error_FnC = torch.stack([torch.stack([error_n for _, error_n in batches], 1) for batches in pairs])
    ratio_nC, chosen_nC = ratio_FnC.max(0)  # NaN is passed on
    return ratio_nC, error_FnC.gather(0, chosen_nC[None])[0]
