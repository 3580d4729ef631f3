"""Installs a small package as pip would: its folder and its dist-info, entry points included, in a site folder."""

from pathlib import Path

SOURCE = """
from torch import nn
from acme.sizes import HIDDEN


def acme_net(width: int = HIDDEN, norm: bool = False):
    norms = [nn.BatchNorm1d(width)] if norm else []
    return nn.Sequential(nn.Linear(64, width), *norms, nn.Tanh(), nn.Linear(width, 10))


def acme_data(num: int = 64):
    import torch

    x = torch.randn(num, 64)
    y = (x[:, :10]).argmax(1)
    return {"train": (x, y), "validation": (x[:16], y[:16])}


def acme_late():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", __import__("torch").zeros(()))
            self.linear = nn.Linear(64, 10)

        def forward(self, inputs):
            self.calls += self.training
            if float(self.calls) > 20:
                raise ValueError("too often")
            return self.linear(inputs)

    return Late()
"""
ENTRY_POINTS = """
[warmup_bench.models]
acme_net = acme.parts:acme_net
acme_late = acme.parts:acme_late
broken = acme.nowhere:net

[warmup_bench.datasets]
acme_data = acme.parts:acme_data
"""


def install(site: Path, *, version: str = "1.2", name: str = "Acme_Models") -> Path:
    """Put the package there. Returns its folder."""
    folder = site / "acme"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("")
    (folder / "sizes.py").write_text("HIDDEN = 8\n")
    (folder / "parts.py").write_text(SOURCE)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder
