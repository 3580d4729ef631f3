"""Where each set comes from: the files at its own home, their size and hash as published, and what is made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workers.data.converting import Content, cifar10_files, fashion_mnist_files, fsdd_files, text_file

MOST_BYTES = 500_000_000
"""Of a file whose size is not known beforehand."""


@dataclass(frozen=True)
class Original:
    """One file at a set's home."""

    url: str
    file: str
    """Its name here."""
    num_bytes: int | None
    """None: not known, because the home packs it anew for whoever asks."""
    sha256: str | None
    """None: what it holds is checked instead, by `Source.convert`."""

    @property
    def most_bytes(self) -> int:
        """What may come at most."""
        return MOST_BYTES if self.num_bytes is None else self.num_bytes


@dataclass(frozen=True)
class Source:
    """A set's home."""

    home: str
    """The page that describes it."""
    licence: str
    originals: tuple[Original, ...]
    convert: Callable[[Mapping[str, Path]], dict[str, Content]]
    """From the originals, by name, to the files of the data directory, by name; ValueError: they are not the set."""


_FASHION_MNIST = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
_FSDD_COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"

SOURCES: Mapping[str, Source] = {
    "cifar10": Source(
        home="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated (research use)",
        originals=(
            # The binary version: the python version holds pickles, which could run anything. Published md5:
            # c32a1d4ab5d03f1284b67883e8d87530.
            Original(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        convert=partial(cifar10_files, rows_per_file=10_000),
    ),
    "fashion_mnist": Source(
        home="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        # Published md5: 8d4fb7e6c68d591d4c3dfef9ec88bf0d, 25c81989df183df01b3e8a0aad5dffbe,
        # bef4ecab320f06d8554ea6380940ec79, bb300cfdad3c16e7a12a480ee83cd310.
        originals=tuple(
            Original(f"{_FASHION_MNIST}/{file}", file, num_bytes, sha256)
            for file, num_bytes, sha256 in (
                (
                    "train-images-idx3-ubyte.gz",
                    26_421_880,
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                (
                    "train-labels-idx1-ubyte.gz",
                    29_515,
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                (
                    "t10k-images-idx3-ubyte.gz",
                    4_422_102,
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                (
                    "t10k-labels-idx1-ubyte.gz",
                    5_148,
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            )
        ),
        convert=partial(fashion_mnist_files, num_train=60_000, num_test=10_000),
    ),
    "fsdd": Source(
        home="https://github.com/Jakobovski/free-spoken-digit-dataset",
        licence="CC BY-SA 4.0",
        originals=(
            Original(
                f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{_FSDD_COMMIT}.tar.gz",
                "free-spoken-digit-dataset.tar.gz",
                None,
                None,
            ),
        ),
        convert=partial(
            fsdd_files,
            num_takes=30,
            arrays_sha256="d5eac4aba7f8bc6367e862347b0134eb94281805dc7df200fd7691c731556dc2",
        ),
    ),
    "tinyshakespeare": Source(
        home="https://github.com/karpathy/char-rnn",
        licence="public domain",
        originals=(
            Original(
                f"{_SHAKESPEARE}/data/tinyshakespeare/input.txt",
                "input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        convert=partial(text_file, name="input.txt"),
    ),
}
"""Name -> home, for every set that `data fetch` brings."""
