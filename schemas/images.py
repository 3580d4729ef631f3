"""Which data sets are images, and of which shape."""

import math


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width) of an example: as it stands, or of a flat square image of one channel (64 is 8 x 8).

    Raises:
        ValueError: it is no image.
    """
    if len(input_shape) == 3:
        return input_shape[0], input_shape[1], input_shape[2]
    side = math.isqrt(input_shape[0]) if len(input_shape) == 1 else 0
    if side < 2 or side * side != input_shape[0]:
        raise ValueError(
            f"images, of shape [channels, height, width] or flat and square: its examples are {list(input_shape)}"
        )
    return 1, side, side
