"""Weight decay: where in the update it enters, and which parameters it reaches."""

from typing import Literal

from torch import Tensor

from workers.science.optimizers.hyperparameters import Layer, PackHyperparameters

Where = Literal["gradient", "update", "apart"]


class WeightDecay:
    """Enters the gradient (L2 regularisation: sgd, adam) or the update, as -(lr weight_decay) w (adamw).

    With `couple_to_lr: false` it is apart from both: the update then takes weight_decay w away, whatever the rate, its
    schedule and mup's factor on it.
    """

    def __init__(self, hyperparameters: PackHyperparameters, where: Literal["gradient", "update"]) -> None:
        first = hyperparameters.specs[0]
        self._rounded = hyperparameters.rounded
        self.where: Where = where if first.couple_to_lr else "apart"  # type: ignore[union-attr]
        self.rate_N1 = hyperparameters.column(lambda spec: spec.weight_decay)
        self.is_on = bool((self.rate_N1 != 0).any())
        self._fixed_N1 = self._rounded(self.rate_N1 if self.where == "gradient" else -self.rate_N1)
        # None: all parameters at once
        self._columns = None if first.decay_on == "all" else _joined(hyperparameters)  # type: ignore[union-attr]

    def is_in(self, where: Where, layer: Layer) -> bool:
        """Whether a layer's decay enters there."""
        return where == self.where and (self._columns is None or layer.is_matrix)

    def coefficient(self, lr_N1: Tensor) -> Tensor:
        """[N, 1], what `add` multiplies the parameters with: weight_decay, -(lr weight_decay) or -weight_decay."""
        return self._rounded(-lr_N1 * self.rate_N1) if self.where == "update" else self._fixed_N1

    def add(self, where: Where, target_nP: Tensor, params_nP: Tensor, coefficient_n1: Tensor) -> None:
        """Adds the decay to the target in place, if this is where it enters."""
        if not self.is_on or where != self.where:
            return
        if self._columns is None:
            target_nP.addcmul_(params_nP, coefficient_n1)
            return
        for columns in self._columns:
            target_nP[:, columns].addcmul_(params_nP[:, columns], coefficient_n1)


def _joined(hyperparameters: PackHyperparameters) -> list[slice]:
    """The columns of all matrices, neighbours joined."""
    joined: list[slice] = []
    for layer in hyperparameters.layers("matrices"):
        first = layer.columns.start
        if joined and joined[-1].stop == first:
            first = joined.pop().start
        joined.append(slice(first, layer.columns.stop))
    return joined
