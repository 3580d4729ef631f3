"""One update of a tiny classifier per Ray Tune trial, as a person would write it. Arguments: KIND COUNT CORES FOLDER.

KIND `function`: a function trainable. KIND `class`: a class with `reuse_actors=True`, the cheapest there is.
Prints the seconds that `fit` took, Ray's own start left out.
"""

import os
import sys
import time

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
import ray
import torch
from ray import tune
from sklearn.datasets import load_digits

RATES = [10 ** (-3 + 2 * index / 19) for index in range(20)]


def one_update(config: dict[str, float]) -> float:
    """The loss on all examples after a single step of a 64-8-10 network on a batch of 64."""
    torch.manual_seed(int(config["seed"]))
    inputs, targets = _digits()
    model = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Tanh(), torch.nn.Linear(8, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    batch = torch.randint(len(inputs), (64,))
    torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
    optimizer.step()
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(model(inputs), targets))


def function_trainable(config: dict[str, float]) -> None:
    """A trial as a function."""
    tune.report({"loss": one_update(config)})


class ClassTrainable(tune.Trainable):
    """A trial as a class whose actor is used again."""

    def setup(self, config: dict[str, float]) -> None:
        """Called for the first trial of an actor."""
        self._config = config

    def reset_config(self, new_config: dict[str, float]) -> bool:
        """Called for each one after it."""
        self._config = new_config
        return True

    def step(self) -> dict[str, float | bool]:
        """The whole trial."""
        return {"loss": one_update(self._config), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is kept."""

    def load_checkpoint(self, checkpoint: str | None) -> None:
        """Nothing was kept."""


def main() -> None:
    """Run `COUNT` trials at one core each."""
    kind, count, cores, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, configure_logging=False)
    torch.set_num_threads(1)
    trainable = tune.with_resources(function_trainable if kind == "function" else ClassTrainable, {"cpu": 1})
    tuner = tune.Tuner(
        trainable,
        param_space={"lr": tune.grid_search(RATES), "seed": tune.randint(0, 1_000_000)},
        tune_config=tune.TuneConfig(num_samples=count // len(RATES), reuse_actors=kind == "class"),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    )
    began = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - began
    assert len(results) == count, f"{len(results)} trials"
    assert results.num_errors == 0, f"{results.num_errors} trials failed"
    sys.stdout.write(f"{seconds}\n")


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits()
    return torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)


if __name__ == "__main__":
    main()
