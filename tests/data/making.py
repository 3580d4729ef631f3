"""Originals of data sets, made up or made from the arrays of a real one."""

import gzip
import hashlib
import io
import tarfile
import wave
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from tests.data.lying_server import Home
from workers.data.converting import arrays_hash, cifar10_files, fashion_mnist_files, fsdd_files, text_file
from workers.data.originals import Original, Source

CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def tar(members: Mapping[str, bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    """A tar.gz of files, and of symbolic links (name -> target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return stream.getvalue()


def cifar10_batches(images: np.ndarray, labels: np.ndarray) -> dict[str, bytes]:
    """The six files of the binary version; images uint8 [6 n, 32, 32, 3]."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    rows = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
    parts = np.split(rows, 6)
    return {f"cifar-10-batches-bin/{name}": part.tobytes() for name, part in zip(CIFAR10_FILES, parts, strict=True)}


def idx(values: np.ndarray) -> bytes:
    """A gzipped IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return gzip.compress(header + values.tobytes(), 1)


def wav(samples: np.ndarray, rate: int = 8000, channels: int = 1) -> bytes:
    """A wave file of 16-bit samples."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def made_up(generator: np.random.Generator) -> dict[str, bytes]:
    """The originals of small sets: twelve images each, a play of a line, and four recordings."""
    images = generator.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, 12, dtype=np.uint8)
    grey, answers = images[..., 0][:, :28, :28], labels
    sounds = {
        f"free-spoken/recordings/{digit}_{speaker}_{take}.wav": wav(generator.integers(-9, 9, 5 + digit))
        for digit, speaker, take in [(3, "theo", 0), (1, "lucas", 1), (1, "george", 0), (3, "theo", 7)]
    }
    return {
        "cifar-10-binary.tar.gz": tar(cifar10_batches(images, labels)),
        "train-images-idx3-ubyte.gz": idx(grey[:9]),
        "train-labels-idx1-ubyte.gz": idx(answers[:9]),
        "t10k-images-idx3-ubyte.gz": idx(grey[9:]),
        "t10k-labels-idx1-ubyte.gz": idx(answers[9:]),
        "free-spoken-digit-dataset.tar.gz": tar({**sounds, "free-spoken/README.md": b"words"}),
        "input.txt": b"First Citizen:\nBefore we proceed any further, hear me speak.\n",
    }


def sources_at(home: Home) -> dict[str, Source]:
    """The made-up sets at a server of this machine, their sizes and hashes as they are now."""

    def at_home(name: str, *, is_known: bool = True) -> Original:
        content = home.files[name]
        known = (len(content), hashlib.sha256(content).hexdigest()) if is_known else (None, None)
        return Original(home.url(name), name, *known)

    sounds = fsdd_arrays(home.files["free-spoken-digit-dataset.tar.gz"])
    fashion = [name for name in home.files if name.endswith("ubyte.gz")]
    convert = {
        "cifar10": (["cifar-10-binary.tar.gz"], partial(cifar10_files, rows_per_file=2)),
        "fashion_mnist": (fashion, partial(fashion_mnist_files, num_train=9, num_test=3)),
        "fsdd": (
            ["free-spoken-digit-dataset.tar.gz"],
            partial(fsdd_files, num_takes=2, arrays_sha256=arrays_hash(sounds)),
        ),
        "tinyshakespeare": (["input.txt"], partial(text_file, name="input.txt")),
    }
    return {
        name: Source(home.url(""), "made up", tuple(at_home(file, is_known=name != "fsdd") for file in files), how)
        for name, (files, how) in convert.items()
    }


def fsdd_arrays(archive: bytes) -> dict[str, np.ndarray]:
    """What takes 0 and 1 of an archive hold, read in another way than the program does."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened.getmembers():
            if not member.name.endswith(".wav"):
                continue
            digit, speaker, take = Path(member.name).stem.split("_")
            file = opened.extractfile(member)
            assert file is not None
            if int(take) < 2:
                found[int(take), int(digit), speaker] = np.frombuffer(file.read()[44:], "<i2")
    names = np.array(["george", "jackson", "lucas", "nicolas", "theo", "yweweler"])
    keys = sorted(found)
    return {
        "audio": np.concatenate([found[key] for key in keys]).astype(np.int16),
        "offsets": np.concatenate([[0], np.cumsum([len(found[key]) for key in keys])]).astype(np.int64),
        "labels": np.array([digit for _, digit, _ in keys], np.uint8),
        "speakers": np.array([list(names).index(speaker) for _, _, speaker in keys], np.uint8),
        "takes": np.array([take for take, _, _ in keys], np.uint8),
        "speaker_names": names,
        "sample_rate": np.array(8000, np.int32),
    }
