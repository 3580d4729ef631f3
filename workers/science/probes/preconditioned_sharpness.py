"""Preconditioned sharpness: the largest eigenvalue of P^-1/2 H P^-1/2, which decides whether Adam's step is stable."""

import torch
from torch import Tensor

from workers.science.probes.eigenvalue import EigenvalueProbe
from workers.science.protocols import Batch, ProbeRequest, Product


class PreconditionedSharpnessProbe(EigenvalueProbe):
    """lambda_max(P^-1 H) of arXiv 2406.09405, with the P of the step about to be made from here.

    Adam: P = (1 - beta1^{t+1}) (sqrt(v_{t+1} / (1 - beta2^{t+1})) + eps), v_{t+1} with the present gradient in it (the
    paper prints it without the root; its code has it); sgd: P = 1, and the value is the sharpness. mup's factors on the
    rate are part of P. The eigenvalues of P^-1 H are those of the symmetric form that is iterated here; on P^-1 H
    itself, which its code uses, Lanczos is wrong by per cents. Measured once the update has been made, at the
    parameters before it, because P is known only then.
    """

    needs_next = True
    needs_preconditioner = True

    def product(self, request: ProbeRequest, rows: Tensor, batch: Batch) -> Product:
        """v -> P^-1/2 H P^-1/2 v."""
        hessian, found_nP = super().product(request, rows, batch), request.preconditioner_nP
        if found_nP is None:
            return hessian
        scale_nP = _inverse_root(found_nP.index_select(0, rows))
        return lambda vectors_nP: hessian(vectors_nP * scale_nP) * scale_nP

    def likely(self, request: ProbeRequest, gradient_nP: Tensor) -> Tensor:
        """P^-1/2 g: the gradient in the coordinates in which P is 1."""
        if request.preconditioner_nP is None:
            return gradient_nP
        return gradient_nP * _inverse_root(request.preconditioner_nP)


def _inverse_root(preconditioner_nP: Tensor) -> Tensor:
    return torch.rsqrt(preconditioner_nP)
