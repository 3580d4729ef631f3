"""The largest eigenvalue of the Gauss-Newton matrix: the part of the Hessian that the loss's own curvature makes."""

from torch import Tensor

from workers.science.probes.eigenvalue import EigenvalueProbe
from workers.science.protocols import Batch, ProbeRequest


class GaussNewtonProbe(EigenvalueProbe):
    """Of J^T L J, J the Jacobian of the outputs, L the Hessian of the loss in them (Schraudolph 2002).

    H = J^T L J + sum_c (dl/do_c) Hess(o_c): positive semidefinite for a loss that is convex in the outputs, and H
    itself where the outputs are linear in the parameters. A product costs as much as one with the Hessian, and is
    counted as one.
    """

    def product(self, request: ProbeRequest, rows: Tensor, batch: Batch) -> "GaussNewtonProduct":
        """v -> J^T L J v."""
        return GaussNewtonProduct(request, rows, batch)


class GaussNewtonProduct:
    """With the Gauss-Newton matrix of the loss on one batch."""

    def __init__(self, request: ProbeRequest, rows: Tensor, batch: Batch) -> None:
        self._objective, self._batch = request.objective, batch
        self._params_nP = request.params_nP.index_select(0, rows)

    def __call__(self, vectors_nP: Tensor) -> Tensor:
        """J^T L J v."""
        return self._objective.gauss_newton_product(self._params_nP, self._batch, vectors_nP)
