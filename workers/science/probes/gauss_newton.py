"""The largest eigenvalue of the Gauss-Newton matrix: the part of the Hessian that the loss's own curvature makes."""

from torch import Tensor

from workers.science.probes.eigenvalue import EigenvalueProbe
from workers.science.protocols import Batch, ProbeRequest, Product


class GaussNewtonProbe(EigenvalueProbe):
    """Of J^T L J, J the Jacobian of the outputs, L the Hessian of the loss in them (Schraudolph 2002).

    H = J^T L J + sum_c (dl/do_c) Hess(o_c): positive semidefinite for a loss that is convex in the outputs, and H
    itself where the outputs are linear in the parameters. A product costs as much as one with the Hessian, and is
    counted as one.
    """

    def product(self, request: ProbeRequest, rows: Tensor, batch: Batch) -> Product:
        """v -> J^T L J v."""
        return request.objective.gauss_newton_at(request.params_nP.index_select(0, rows), batch)
