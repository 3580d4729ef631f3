"""Training images flipped and cropped at random, each image of each trial at each step for itself, on the device."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from schemas.images import image_shape
from workers.science.batches import TrainingBatches
from workers.science.draws import PerStepDraws
from workers.science.label_noise import stacked
from workers.science.protocols import Batch

MARGIN_SHARE = 8
"""A crop's margin is the side over this: 4 of 32 pixels (He et al., arXiv 1512.03385, 4.2), 3 of 28, 1 of 8."""


class AugmentedBatches:
    """Batches of `inner` with augmented images: a pure function of the data-order seed and the step.

    flip: left to right, with probability 1/2. crop: a margin of zeros, the mean of normalised pixels, is put around the
    image, and an image of the old size is cut out at a uniform place (then flipped, where both are asked for).
    """

    def __init__(
        self,
        inner: TrainingBatches,
        kind: str,
        seed_of_slot: Sequence[int],
        batch_size: int,
        input_shape: tuple[int, ...],
        device: torch.device,
    ) -> None:
        self._inner = inner
        self._image = image_shape(input_shape)
        _, height, width = self._image
        margins = (height // MARGIN_SHARE, width // MARGIN_SHARE) if "crop" in kind else (0, 0)
        draw = partial(_draw, margins=margins, flips="flip" in kind, size=batch_size)
        self._draws = PerStepDraws("augmentation", seed_of_slot, draw, device)
        self._rows_H = torch.arange(height, device=device)
        self._columns_W = torch.arange(width, device=device)

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first ... last - 1, stacked."""
        for batch, drawn_NB3 in zip(self._inner.steps(first, last), self._draws.steps(first, last), strict=True):
            inputs, labels = stacked(batch, len(drawn_NB3))
            images = self._augmented(inputs.reshape(-1, *self._image), drawn_NB3.flatten(0, 1))
            yield Batch((images.view(inputs.shape), labels), stacked=True, size=batch.size)

    def _augmented(self, images_MCHW: Tensor, drawn_M3: Tensor) -> Tensor:
        down_M, right_M, flip_M = drawn_M3.unbind(1)
        _, height, width = self._image
        across_MW = torch.where(flip_M.unsqueeze(1) == 1, width - 1 - self._columns_W, self._columns_W)
        row_MH, column_MW = self._rows_H + down_M.unsqueeze(1), across_MW + right_M.unsqueeze(1)
        is_inside_MHW = _inside(row_MH, height).unsqueeze(2) & _inside(column_MW, width).unsqueeze(1)
        place_MHW = row_MH.clamp(0, height - 1).unsqueeze(2) * width + column_MW.clamp(0, width - 1).unsqueeze(1)
        pixels_MCL = images_MCHW.flatten(2)
        taken_MCL = pixels_MCL.gather(2, place_MHW.view(-1, 1, height * width).expand_as(pixels_MCL))
        return (taken_MCL * is_inside_MHW.view(-1, 1, height * width)).view(images_MCHW.shape)


def _draw(stream: torch.Generator, margins: tuple[int, int], flips: bool, size: int) -> Tensor:
    """int64 [size, 3]: pixels down, pixels to the right, whether it is flipped."""
    down, right = (torch.randint(-margin, margin + 1, (size,), generator=stream) for margin in margins)
    flip = torch.randint(2, (size,), generator=stream) if flips else torch.zeros(size, dtype=torch.int64)
    return torch.stack((down, right, flip), dim=1)


def _inside(index: Tensor, length: int) -> Tensor:
    return (index >= 0) & (index < length)
