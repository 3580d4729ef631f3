"""Where a pack trains: the device and the settings under which the same plan gives the same bits."""

import os

import torch

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16_autocast": torch.float32}
"""The parameters' dtype by precision."""


def prepare(device: str) -> torch.device:
    """The torch device `cpu` or `cuda`, made deterministic for the whole process.

    On CUDA: deterministic kernels only, a fixed cuBLAS workspace, no TF32, no benchmark mode.

    Raises:
        RuntimeError: CUDA is asked for and there is none.
    """
    torch.use_deterministic_algorithms(True)
    # filling fresh memory with NaN would cost a pass over every buffer; nothing here reads before it writes
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by a property
    if device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(f"execution.device: got {device}, allowed cpu on this machine, which has no CUDA device")
    # cuBLAS reads it when its first handle is made
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda", torch.cuda.current_device())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or this machine, had no room for a tensor."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def release_memory() -> None:
    """Give back what freed tensors have left in CUDA's cache, in pieces that a smaller pack could not use."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def dtype_of(precision: str) -> torch.dtype:
    """The parameters' dtype."""
    return DTYPES[precision]
