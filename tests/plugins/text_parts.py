"""Parts of somebody who trains language models: windows of a text, and nets that read them. Imports nothing of ours."""

import numpy as np
import torch
from torch import nn

VOCABULARY = 7


def text(size: int, vocabulary: int = VOCABULARY) -> np.ndarray:
    """Each token is mostly the same function of the one before."""
    random = np.random.default_rng(0)
    likely, tokens = random.permutation(vocabulary), [0]
    for is_likely, other in zip(random.random(size - 1) < 0.7, random.integers(0, vocabulary, size - 1), strict=True):
        tokens.append(int(likely[tokens[-1]]) if is_likely else int(other))
    return np.array(tokens)


def windows(context: int = 5, size: int = 1200, vocabulary: int = VOCABULARY, shift: int = 0, labels: bool = False):
    tokens = text(size, vocabulary)

    def part(first, last):
        num = (last - first - 1) // context
        x, y = (tokens[first + i :][: num * context].reshape(num, context) for i in (0, 1))
        return x + shift, y[:, 0] if labels else y

    first, second = size * 90 // 100, size * 95 // 100
    return {"train": part(0, first), "validation": part(first, second), "test": part(second, size)}


def bigram(context: int, vocabulary: int = VOCABULARY):
    return nn.Embedding(vocabulary, vocabulary)


class Reader(nn.Module):
    """Sees all tokens up to its own, in a running mean; `p`: dropout."""

    def __init__(self, context: int, vocabulary: int = VOCABULARY, width: int = 8, p: float = 0.0):
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.dropout, self.head = nn.Dropout(p), nn.Linear(width, vocabulary)

    def forward(self, tokens):
        count = torch.arange(1, tokens.shape[1] + 1, device=tokens.device).unsqueeze(1)
        x = self.token(tokens) + self.position(count.squeeze(1) - 1)
        return self.head(self.dropout((x.cumsum(1) / count).tanh()))


class Recurrent(nn.Module):
    """torch's own recurrent net, which vmap takes under a derivative alone."""

    def __init__(self, context: int, vocabulary: int = VOCABULARY, width: int = 8):
        super().__init__()
        self.token, self.cells = nn.Embedding(vocabulary, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        return self.head(self.cells(self.token(tokens))[0])


PLUGINS = {"models": {"bigram": bigram, "Reader": Reader, "Recurrent": Recurrent}, "datasets": {"windows": windows}}
