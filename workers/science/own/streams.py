"""The global random streams that a user's own code draws from, at a start that only the trial and the step decide."""

import random

import numpy as np
import torch


def start_global_streams(start: int) -> None:
    """Set torch's, numpy's and Python's global streams to a start.

    Every step begins so: what it draws does not hang on what was drawn before, and a checkpoint needs no stream.
    """
    # not torch.manual_seed, which remembers a traceback of every call until there is a CUDA device
    torch.default_generator.manual_seed(start)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(start)
    np.random.seed(start % 2**32)
    random.seed(start)
