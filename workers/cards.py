"""Which CUDA devices this machine has, told without torch: the driver's kernel module says it."""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_INFORMATION = Path("/proc/driver/nvidia/gpus")


def cards(environment: Mapping[str, str] = os.environ, information: Path = _INFORMATION) -> list[str]:
    """The models of the devices that this process may use.

    Empty without any, where CUDA_VISIBLE_DEVICES hides all, and where the installed torch is built without CUDA.
    """
    if _torch_is_for_cpus():
        return []
    found = [_model(card) for card in sorted(information.glob("*/information"))]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    # Entries may be numbers or UUIDs; CUDA itself stops at the first that is neither.
    chosen = [entry.strip() for entry in visible.split(",") if entry.strip() not in ("", "-1")]
    return found[: len(chosen)]


def _torch_is_for_cpus() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return True


def _model(card: Path) -> str:
    for line in card.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("Model:"):
            return line.removeprefix("Model:").strip()
    return "CUDA device"
