"""How large a study may be: counted before anything is expanded."""

from dataclasses import dataclass, fields

from schemas.errors import Problem


@dataclass(frozen=True)
class Limits:
    """Upper limits; an operator may set others."""

    trials: int = 1_000_000
    steps_per_trial: int = 10_000_000
    parameters_per_model: int = 1_000_000_000
    probes: int = 32
    probe_points_per_trial: int = 100_000
    record_bytes: int = 2_000_000_000_000
    spec_bytes: int = 1_000_000

    def check(self, **counts: int) -> list[Problem]:
        """One problem per count that is over its limit, by the limit's name."""
        known = {field.name for field in fields(self)}
        assert set(counts) <= known, set(counts) - known
        return [
            Problem(name, str(count), f"at most {getattr(self, name)}")
            for name, count in counts.items()
            if count > getattr(self, name)
        ]
