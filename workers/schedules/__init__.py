"""Learning-rate schedules in closed form: factors of peak_lr as numpy arrays, one file per curve."""

from workers.schedules.factors import decay_factors, factors, warmup_factors

__all__ = ["decay_factors", "factors", "warmup_factors"]
