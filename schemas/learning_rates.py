"""Peak learning rates: a list of values or a grid, as they are or in units of 1/sharpness at the start."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.base import PositiveFloat, PositiveInt, Spec, require_one_of


class Grid(Spec):
    """`count` points from `low` to `high`, both included, evenly spaced in value or in logarithm."""

    low: PositiveFloat
    high: PositiveFloat
    count: PositiveInt
    spacing: Literal["log", "linear"] = "log"

    @model_validator(mode="after")
    def _ordered(self) -> "Grid":
        if self.count == 1 and self.low != self.high:
            raise ValueError("a grid of one point has low equal to high")
        if self.count > 1 and self.low >= self.high:
            raise ValueError("low below high")
        return self

    def points(self) -> tuple[float, ...]:
        """The grid's values, rounded to 12 significant digits so that ids do not hang on a library's last bit."""
        if self.count == 1:
            return (round_significant(self.low),)
        position = [index / (self.count - 1) for index in range(self.count)]
        if self.spacing == "linear":
            return tuple(round_significant(self.low + (self.high - self.low) * u) for u in position)
        low, high = math.log(self.low), math.log(self.high)
        return tuple(round_significant(math.exp(low + (high - low) * u)) for u in position)


class RelativeTo(Spec):
    """peak_lr = multiple / quantity, where training starts: the mean over START_BATCHES fixed batches.

    sharpness: the Hessian's largest eigenvalue; preconditioned_sharpness: that of P^-1/2 H P^-1/2, P of the first
    update on the same batch (arXiv 2406.09405). scope trial: at each trial's own start; study: at the start of the
    study's first seed, so that all seeds of a cell train at one rate.
    """

    quantity: Literal["sharpness", "preconditioned_sharpness"]
    scope: Literal["trial", "study"] = "trial"


START_BATCHES = 10
"""Batches over which a start's sharpness is averaged (arXiv 2406.09405); one where every batch is the same."""


class PeakLRs(Spec):
    """Exactly one of `values` and `grid`; multiples of 1/quantity at the start with `relative_to`."""

    values: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False)] | None = None
    grid: Grid | None = None
    relative_to: RelativeTo | None = None

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # a resolved study that says nothing of it keeps the spec hash that it had before there was such a field
        said: dict[str, Any] = plain(self)
        return said if self.relative_to is not None else {k: v for k, v in said.items() if k != "relative_to"}

    @model_validator(mode="after")
    def _exactly_one(self) -> "PeakLRs":
        require_one_of(values=self.values, grid=self.grid)
        if self.values is not None and len(set(self.points())) != len(self.values):
            raise ValueError("values that differ in their first 12 digits")
        return self

    def count(self) -> int:
        """How many rates, without making them."""
        return len(self.values) if self.values is not None else self._grid().count

    def points(self) -> tuple[float, ...]:
        """The rates, in the order they were stated."""
        if self.values is not None:
            return tuple(round_significant(value) for value in self.values)
        return self._grid().points()

    def _grid(self) -> Grid:
        assert self.grid is not None
        return self.grid


def round_significant(value: float, digits: int = 12) -> float:
    """`value` to `digits` significant decimal digits."""
    return float(f"{value:.{digits - 1}e}")
