"""What decides the bits on this machine, said by a process that has torch; `python -m` this says it without a Ray."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

from workers.cluster.orders import TrainerFacts
from workers.cluster.origins import package_origins
from workers.launcher import child_environment, module_command

TRAINER_ENVIRONMENT = {
    # One intra-op thread per core: the bits of a matrix product depend on how many threads share it.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""What every process starts with whose torch trains, or answers for those that do."""


def trainer_facts(device: str) -> TrainerFacts:
    """The facts of this process, which imports torch for it. `device`: cpu or cuda."""
    import torch

    is_cuda = device == "cuda"
    return TrainerFacts(
        device_class=torch.cuda.get_device_name() if is_cuda else "cpu",
        torch_version=str(torch.__version__),
        cpu_capability=None if is_cuda else torch.backends.cpu.get_cpu_capability(),
        cuda_version=torch.version.cuda if is_cuda else None,
        intra_op_threads=torch.get_num_threads(),
        origins=package_origins(),
    )


def facts_without_trainer(device: str) -> TrainerFacts:
    """What a trainer would say here, from a process that starts in two seconds and is gone afterwards.

    Raises:
        RuntimeError: it could not say; its last words.
    """
    command = [*module_command("workers.cluster.facts"), device]
    environment = child_environment() | TRAINER_ENVIRONMENT
    said = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        raise RuntimeError(f"torch cannot be used here: {said.stderr.strip()[-500:]}")
    return TrainerFacts(**json.loads(said.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(asdict(trainer_facts(sys.argv[1])))}\n")
    sys.stdout.flush()
    os._exit(0)  # torch takes its time to say goodbye
