"""What a warmup saves that begins at the catapult threshold eta_c (arXiv 2406.09405, section 6)."""

import math


def steps_to_peak(warmup_steps: int, start_rate: float, peak_lr: float) -> int:
    """T_reach = W (1 - eta_c / peak_lr), rounded up, at least 1: updates until the rate is the peak."""
    share = warmup_steps * (1.0 - start_rate / peak_lr)
    # 1,000 updates at eta_c / peak = 0.4 are 600, not 601 for a last bit
    nearest = round(share)
    return max(1, nearest if abs(share - nearest) < 1e-9 * warmup_steps else math.ceil(share))


def steps_saved(warmup_steps: int, start_rate: float, peak_lr: float, forward_passes: int) -> float:
    """T_save = W - T_reach - T_fp / 2: against a linear warmup, a forward pass counted as half an update as there."""
    return warmup_steps - steps_to_peak(warmup_steps, start_rate, peak_lr) - forward_passes / 2
