"""What a home gives becomes the arrays of the data directory: real sets come back, bad archives are refused."""

import gzip
import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.making import cifar10_batches, idx, tar, wav
from workers.data.converting import cifar10_files, fashion_mnist_files, fsdd_files
from workers.data.originals import SOURCES

SHARED = Path(os.environ.get("WARMUP_BENCH_DATA") or Path(__file__).parents[3] / "shared" / "data")


def shared(name: str) -> dict[str, np.ndarray]:
    if not (SHARED / name).is_file():
        pytest.skip(f"there is no {name} in the data directory")
    try:
        with np.load(SHARED / name, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except zipfile.BadZipFile as error:
        pytest.fail(str(error))


def size(value: Any) -> str | None:
    """A case's name: an archive's bytes tell when it was made, and cases must be called alike in every process."""
    return f"{len(value)}-bytes" if isinstance(value, bytes) else None


def put(folder: Path, **files: bytes) -> dict[str, Path]:
    paths = {}
    for name, content in files.items():
        paths[name] = folder / name
        paths[name].write_bytes(content)
    return paths


def arrays(content: Any) -> dict[str, np.ndarray]:
    assert isinstance(content, dict)
    return content


def test_real_images_come_back_from_the_binary_version_of_cifar10(tmp_path: Path) -> None:
    real = shared("cifar10/test.npz")
    images, labels = real["images"][:60], real["labels"][:60]
    archive = tar(cifar10_batches(images, labels))
    files = cifar10_files(put(tmp_path, archive=archive), rows_per_file=10)
    train, test = arrays(files["train.npz"]), arrays(files["test.npz"])
    np.testing.assert_array_equal(np.concatenate([train["images"], test["images"]]), images)
    np.testing.assert_array_equal(np.concatenate([train["labels"], test["labels"]]), labels)
    assert list(train["index"]) == list(range(50))
    for name, array in real.items():
        assert test[name].dtype == array.dtype
        assert test[name].shape[1:] == array.shape[1:]
    assert list(test["class_names"]) == list(real["class_names"])


def test_real_images_come_back_from_the_files_of_fashion_mnist(tmp_path: Path) -> None:
    real = shared("fashion_mnist/test.npz")
    images, labels = real["images"][:60], real["labels"][:60]
    named = {
        "train-images-idx3-ubyte.gz": idx(images[:50]),
        "train-labels-idx1-ubyte.gz": idx(labels[:50]),
        "t10k-images-idx3-ubyte.gz": idx(images[50:]),
        "t10k-labels-idx1-ubyte.gz": idx(labels[50:]),
    }
    files = fashion_mnist_files(put(tmp_path, **named), num_train=50, num_test=10)
    train, test = arrays(files["train.npz"]), arrays(files["test.npz"])
    np.testing.assert_array_equal(np.concatenate([train["images"], test["images"]]), images)
    np.testing.assert_array_equal(np.concatenate([train["labels"], test["labels"]]), labels)
    for name, array in real.items():
        assert test[name].dtype == array.dtype
        assert test[name].shape[1:] == array.shape[1:]
    assert list(test["class_names"]) == list(real["class_names"])


def test_the_real_recordings_of_fsdd_have_the_hash_that_is_asked_for(tmp_path: Path) -> None:
    real = shared("fsdd/fsdd.npz")
    members = {"free/recordings/0_george_30.wav": wav(np.arange(9))}
    for row in reversed(range(len(real["labels"]))):
        speaker = real["speaker_names"][real["speakers"][row]]
        samples = real["audio"][real["offsets"][row] : real["offsets"][row + 1]]
        members[f"free/recordings/{real['labels'][row]}_{speaker}_{real['takes'][row]}.wav"] = wav(samples)
    made = arrays(SOURCES["fsdd"].convert(put(tmp_path, archive=tar(members)))["fsdd.npz"])
    assert made.keys() == real.keys()
    for name, array in real.items():
        np.testing.assert_array_equal(made[name], array)
        assert made[name].dtype == array.dtype


GOOD = {f"batches/{name}.bin": bytes(3073) for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]}


def cifar10(folder: Path, archive: bytes) -> Any:
    return cifar10_files(put(folder, archive=archive), rows_per_file=1)


def test_where_a_member_says_that_it_lies_decides_nothing(tmp_path: Path) -> None:
    hostile = {f"../../{name}": content for name, content in GOOD.items()}
    cifar10(tmp_path, tar(hostile, links={"link": "/etc/passwd"}))
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (b"", "cannot be read"),
        (b"<html>", "cannot be read"),
        (tar(GOOD)[:-40], "cannot be read"),
        (gzip.compress(b"no tar" * 200), "cannot be read"),
        (tar({}), r"got no data_batch_1\.bin, .*test_batch\.bin"),
        (tar({name: each for name, each in GOOD.items() if "4" not in name}), r"got no data_batch_4\.bin"),
        (tar(GOOD | {"batches/test_batch.bin": bytes(3072)}), r"test_batch\.bin: got 3072 bytes, allowed 3073"),
        (tar(GOOD | {"batches/test_batch.bin": bytes(9999)}), r"test_batch\.bin: got 9999 bytes, allowed at most 3073"),
        (tar(GOOD | {"other/test_batch.bin": bytes(3073)}), r"test_batch\.bin: got it twice"),
        (tar(GOOD | {"batches/test_batch.bin": b"\x0a" + bytes(3072)}), "labels: got 10, allowed 0 to 9"),
        (
            tar({n: c for n, c in GOOD.items() if "test" not in n}, links={"batches/test_batch.bin": "/etc/passwd"}),
            r"got no test_batch\.bin",
        ),
    ],
    ids=size,
)
def test_an_archive_that_is_not_cifar10_is_refused(tmp_path: Path, archive: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cifar10(tmp_path, archive)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        gzip.compress(b""),
        idx(np.zeros((3, 28, 28), np.uint8))[:-3],
        idx(np.zeros((2, 28, 28), np.uint8)),
        idx(np.zeros((3, 28, 27), np.uint8)),
        gzip.compress(gzip.decompress(idx(np.zeros((3, 28, 28), np.uint8))) + b"more"),
    ],
    ids=size,
)
def test_a_file_that_is_not_fashion_mnist_is_refused(tmp_path: Path, content: bytes) -> None:
    labels = idx(np.zeros(3, np.uint8))
    named = {
        "train-images-idx3-ubyte.gz": content,
        "train-labels-idx1-ubyte.gz": labels,
        "t10k-images-idx3-ubyte.gz": content,
        "t10k-labels-idx1-ubyte.gz": labels,
    }
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        fashion_mnist_files(put(tmp_path, **named), num_train=3, num_test=3)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"README.md": b""}, "got no recordings"),
        ({"recordings/1_nobody_0.wav": wav(np.arange(3))}, "got speaker nobody"),
        ({"recordings/1_theo_0.wav": b"RIFF"}, "cannot be read"),
        ({"recordings/1_theo_0.wav": wav(np.arange(3), rate=16_000)}, r"\(1, 2, 16000\)"),
        ({"recordings/1_theo_0.wav": wav(np.arange(4), channels=2)}, r"\(2, 2, 8000\)"),
        ({"recordings/1_theo_0.wav": wav(np.arange(3))}, "sha256 of its recordings: got .* allowed abc"),
    ],
)
def test_an_archive_that_is_not_fsdd_is_refused(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    convert = partial(fsdd_files, num_takes=2, arrays_sha256="abc")
    with pytest.raises(ValueError, match=said):
        convert(put(tmp_path, archive=tar(members)))
