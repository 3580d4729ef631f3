"""From the files that a set's home gives to those of the data directory. Nothing is unpacked by its own path, no pickle
is read: an archive is input from outside, whatever its hash."""

import gzip
import hashlib
import io
import re
import tarfile
import wave
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]
Content = Arrays | Path
"""Of one file: the arrays of an npz, or a file that is taken as it is."""

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_MNIST_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
FSDD_SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
FSDD_RATE_HZ = 8_000
_CIFAR10_ROW = 1 + 3 * 32 * 32
_MOST_WAVE_BYTES = 1_000_000
_RECORDING = re.compile(r"(?:^|/)recordings/(\d)_([a-z]+)_(\d+)\.wav$")


def cifar10_files(originals: Mapping[str, Path], *, rows_per_file: int) -> dict[str, Content]:
    """`train.npz`, `test.npz`: images uint8 [N, 32, 32, 3] RGB, labels uint8, index int32 [N], class_names str [10].

    From the binary version: six files whose rows are a label and 3 x 32 x 32 pixels, channel first. In official order.

    Raises:
        ValueError: it is not that.
    """
    (archive,) = originals.values()
    train = [f"data_batch_{number}.bin" for number in range(1, 6)]
    found: dict[str, bytes] = {}
    for name, content in _members(archive, [*train, "test_batch.bin"], rows_per_file * _CIFAR10_ROW):
        if len(content) != rows_per_file * _CIFAR10_ROW:
            raise ValueError(f"{name}: got {len(content)} bytes, allowed {rows_per_file * _CIFAR10_ROW}")
        found[name] = content
    _check_complete(found, [*train, "test_batch.bin"])
    return {
        "train.npz": _cifar10_arrays(b"".join(found.pop(name) for name in train)),
        "test.npz": _cifar10_arrays(found.pop("test_batch.bin")),
    }


def fashion_mnist_files(originals: Mapping[str, Path], *, num_train: int, num_test: int) -> dict[str, Content]:
    """`train.npz`, `test.npz`: images uint8 [N, 28, 28], labels uint8, index int32 [N], class_names str [10].

    From the four gzipped IDX files, in official order.

    Raises:
        ValueError: they are not that.
    """
    parts = {"train.npz": ("train", num_train), "test.npz": ("t10k", num_test)}
    return {
        file: _labelled(
            _idx(originals[f"{prefix}-images-idx3-ubyte.gz"], (number, 28, 28)),
            _idx(originals[f"{prefix}-labels-idx1-ubyte.gz"], (number,)),
            FASHION_MNIST_CLASSES,
        )
        for file, (prefix, number) in parts.items()
    }


def fsdd_files(originals: Mapping[str, Path], *, num_takes: int, arrays_sha256: str) -> dict[str, Content]:
    """`fsdd.npz`: takes 0 ... num_takes - 1 of each speaker and digit, 8 kHz; sorted by take, digit, speaker.

    audio int16 (flat; recording i is audio[offsets[i]:offsets[i + 1]]), offsets int64, labels, speakers, takes uint8,
    speaker_names str, sample_rate int32.

    Args:
        arrays_sha256: of the arrays (`arrays_hash`): the home packs its archive anew, so its own bytes say nothing.

    Raises:
        ValueError: they are not that.
    """
    (archive,) = originals.values()
    recordings: dict[tuple[int, int, int], NDArray[np.generic]] = {}
    for name, content in _members(archive, None, _MOST_WAVE_BYTES):
        digit, speaker, take = _recording(name)
        if take < num_takes:
            recordings[take, digit, speaker] = _samples(name, content)
    if not recordings:
        raise ValueError("got no recordings/DIGIT_SPEAKER_TAKE.wav")
    keys = sorted(recordings)
    takes, labels, speakers = (np.array(column, np.uint8) for column in zip(*keys, strict=True))
    arrays: Arrays = {
        "audio": np.concatenate([recordings[key] for key in keys]),
        "offsets": np.cumsum([0, *(len(recordings[key]) for key in keys)], dtype=np.int64),
        "labels": labels,
        "speakers": speakers,
        "takes": takes,
        "speaker_names": np.array(FSDD_SPEAKERS),
        "sample_rate": np.array(FSDD_RATE_HZ, np.int32),
    }
    if (got := arrays_hash(arrays)) != arrays_sha256:
        raise ValueError(f"sha256 of its recordings: got {got}, allowed {arrays_sha256}")
    return {"fsdd.npz": arrays}


def text_file(originals: Mapping[str, Path], *, name: str) -> dict[str, Content]:
    """The one original, as it is."""
    (path,) = originals.values()
    return {name: path}


def arrays_hash(arrays: Arrays) -> str:
    """SHA-256 over name, type, shape and little-endian bytes of each array, by name: the same on every machine."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {arrays[name].shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, wave.Error) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def _members(archive: Path, names: list[str] | None, most_bytes: int) -> Iterator[tuple[str, bytes]]:
    """The wanted members of a tar.gz, by the last part of their path (None: by the pattern of a recording).

    Their paths decide nothing but that: nothing is written.
    """
    seen: set[str] = set()
    with _reading(archive), tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = member.name if names is None else PurePosixPath(member.name).name
            wanted = _RECORDING.search(name) is not None if names is None else name in names
            if not (wanted and member.isfile()):
                continue
            if name in seen:
                raise ValueError(f"{name}: got it twice, allowed once")
            seen.add(name)
            if member.size > most_bytes:
                raise ValueError(f"{name}: got {member.size} bytes, allowed at most {most_bytes}")
            file = tar.extractfile(member)
            assert file is not None
            yield name, file.read(most_bytes)


def _check_complete(found: Mapping[str, object], wanted: list[str]) -> None:
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"got no {', '.join(missing)}")


def _cifar10_arrays(content: bytes) -> Arrays:
    rows = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR10_ROW)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _labelled(np.ascontiguousarray(images), rows[:, 0].copy(), CIFAR10_CLASSES)


def _labelled(images: NDArray[np.uint8], labels: NDArray[np.uint8], class_names: tuple[str, ...]) -> Arrays:
    if labels.size and labels.max() >= len(class_names):
        raise ValueError(f"labels: got {labels.max()}, allowed 0 to {len(class_names) - 1}")
    index = np.arange(len(labels), dtype=np.int32)
    return {"images": images, "labels": labels, "index": index, "class_names": np.array(class_names)}


def _idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Unsigned bytes: two zeros, 8, the number of axes; each length as a big-endian int32; the values."""
    header = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
    size = len(header) + int(np.prod(shape))
    with _reading(path), gzip.open(path) as file:
        content = file.read(size + 1)
    if not content.startswith(header) or len(content) != size:
        raise ValueError(f"{path.name}: got something else than unsigned bytes of shape {list(shape)}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _recording(name: str) -> tuple[int, int, int]:
    found = _RECORDING.search(name)
    assert found is not None
    digit, speaker, take = found.groups()
    if speaker not in FSDD_SPEAKERS:
        raise ValueError(f"{name}: got speaker {speaker}, allowed {', '.join(FSDD_SPEAKERS)}")
    return int(digit), FSDD_SPEAKERS.index(speaker), int(take)


def _samples(name: str, content: bytes) -> NDArray[np.generic]:
    with _reading(Path(name)), wave.open(io.BytesIO(content)) as file:
        kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        if kind != (1, 2, FSDD_RATE_HZ):
            raise ValueError(f"{name}: got (channels, bytes, Hz) {kind}, allowed {(1, 2, FSDD_RATE_HZ)}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
