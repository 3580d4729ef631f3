"""Half the mean squared difference to the one-hot target."""

import torch
from torch import Tensor

from schemas.workloads import MSE as MSESpec


class MSE:
    """1/(2 B C) sum_b sum_c (output_bc - one_hot_bc)^2.

    With the mean over classes, too, the net of Kalra and Barkeshli (arXiv 2406.09405: four layers of 512, ReLU,
    N(0, 2/fan_in)) starts on CIFAR-10 at the sharpness that they show, about 50; with a sum it would be 500.
    """

    def __init__(self, _spec: MSESpec) -> None:
        pass

    def __call__(self, outputs_BC: Tensor, targets_B: Tensor) -> Tensor:
        """The loss of one trial's batch."""
        classes_C = torch.arange(outputs_BC.shape[-1], device=outputs_BC.device)
        one_hot_BC = (targets_B.unsqueeze(-1) == classes_C).to(outputs_BC.dtype)
        return 0.5 * (outputs_BC - one_hot_BC).square().mean()

    def constant_answer(self, targets_n: Tensor, num_classes: int) -> float:
        """1/(2 C) sum_c p_c (1 - p_c): the loss of the answer p, the shares of the classes."""
        share_C = torch.bincount(targets_n, minlength=num_classes).to(torch.float64) / len(targets_n)
        return float((share_C * (1 - share_C)).sum() / (2 * num_classes))
