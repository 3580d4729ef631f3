"""Mean negative log likelihood of the right class."""

import torch
from torch import Tensor

from schemas.workloads import CrossEntropy as CrossEntropySpec


class CrossEntropy:
    """-mean_b sum_c target_bc log softmax(output_b)_c, equal to torch.nn.functional.cross_entropy.

    With outputs [B, T, C] and targets [B, T] the mean is over windows and positions.

    The targets are compared with 0 .. C-1 rather than used as indices: gather's gradient is a scatter, which on CUDA
    adds in no fixed order.
    """

    def __init__(self, spec: CrossEntropySpec) -> None:
        self._smoothing = spec.label_smoothing

    def __call__(self, outputs_BC: Tensor, targets_B: Tensor) -> Tensor:
        """The mean loss in nats of one trial's batch."""
        log_probability_BC = torch.log_softmax(outputs_BC, dim=-1)
        num_classes = outputs_BC.shape[-1]
        classes_C = torch.arange(num_classes, device=outputs_BC.device)
        is_right_BC = (targets_B.unsqueeze(-1) == classes_C).to(outputs_BC.dtype)
        if self._smoothing > 0:
            is_right_BC = is_right_BC * (1 - self._smoothing) + self._smoothing / num_classes
        return -(is_right_BC * log_probability_BC).sum(-1).mean()

    def constant_answer(self, targets_n: Tensor, num_classes: int) -> float:
        """Entropy of the (smoothed) labels: the loss of the best answer that never looks at its input."""
        share_C = torch.bincount(targets_n.flatten(), minlength=num_classes).to(torch.float64) / targets_n.numel()
        share_C = share_C * (1 - self._smoothing) + self._smoothing / num_classes
        return float(-torch.xlogy(share_C, share_C).sum())
