"""CIFAR-10 and Fashion-MNIST are read as they lie in the data directory, split once, or refused with what to do."""

import os
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DataMissing
from schemas.workloads import CIFAR10, FashionMNIST
from workers.data import photographs, scan, sets
from workers.data.photographs import load_cifar10, load_fashion_mnist

SHARED = Path(os.environ.get("WARMUP_BENCH_DATA") or Path(__file__).parents[3] / "shared" / "data")
# These decide every trial id: a change here is a new data set and needs a new name.
CIFAR10_SHA256 = "308c5c6ec71b87766e29700a05259cb0de847c6cf6f7e84351a4bb787ffa56e8"
FASHION_MNIST_SHA256 = "ac63a422a8768422791cac1f1c40a213a59920f2442d0d6b8ea12cb13214506c"
LOADERS = {"cifar10": load_cifar10, "fashion_mnist": load_fashion_mnist}
SHAPES = {"cifar10": (32, 32, 3), "fashion_mnist": (28, 28)}
SPECS = {"cifar10": CIFAR10(kind="cifar10"), "fashion_mnist": FashionMNIST(kind="fashion_mnist")}


def write(folder: Path, name: str, num_train: int = 60, num_test: int = 20, **changes: np.ndarray) -> None:
    (folder / name).mkdir(exist_ok=True)
    for part, size in (("train", num_train), ("test", num_test)):
        random = np.random.default_rng(size)
        arrays = {
            "images": random.integers(0, 256, (size, *SHAPES[name])).astype(np.uint8),
            "labels": (np.arange(size) % 10).astype(np.uint8),
        }
        np.savez_compressed(folder / name / f"{part}.npz", **{**arrays, **changes})


@pytest.mark.parametrize("name", LOADERS)
def test_the_shared_sets_are_read_whole_and_split_once(name: str) -> None:
    if not (SHARED / name / "train.npz").is_file():
        pytest.skip(f"{SHARED} has no {name}")
    arrays = LOADERS[name](SHARED)
    known = {
        "cifar10": (10_000, 2_000, 2_500, (3, 32, 32), CIFAR10_SHA256),
        "fashion_mnist": (12_500, 2_500, 3_000, (1, 28, 28), FASHION_MNIST_SHA256),
    }[name]
    sizes = tuple(len(labels) for labels in (arrays.train_y, arrays.validation_y, arrays.test_y))
    assert (*sizes, arrays.input_shape, arrays.sha256) == known
    assert arrays.train_x.dtype == np.uint8
    # the stated constants are those of the whole set, of which this is a part
    mean, std = (np.array(values) for values in arrays.pixels)  # type: ignore[union-attr]
    pixels = arrays.train_x / 255
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), mean, atol=0.005)
    np.testing.assert_allclose(pixels.std((0, 2, 3)), std, atol=0.005)


@pytest.mark.parametrize("name", LOADERS)
def test_every_row_is_in_one_part_channels_first(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    arrays = LOADERS[name](tmp_path)
    with np.load(tmp_path / name / "train.npz") as file:
        images = file["images"].reshape(60, *SHAPES[name][:2], -1).transpose(0, 3, 1, 2)
        labels = file["labels"]
    ours = np.concatenate([arrays.train_x, arrays.validation_x])
    rows = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert [len(arrays.train_y), len(arrays.validation_y), len(arrays.test_y)] == [50, 10, 20]
    assert {image.tobytes() for image in ours} == set(rows)
    assert [rows[image.tobytes()] for image in ours] == [*arrays.train_y, *arrays.validation_y]


@pytest.mark.parametrize("name", LOADERS)
def test_a_missing_file_says_which_command_gets_the_set(name: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(DataMissing, match=rf"{name}/train.npz.*data fetch {name}.*data import {name} PATH"):
            LOADERS[name](folder)
    write(tmp_path, name)
    (tmp_path / name / "test.npz").unlink()
    with pytest.raises(DataMissing, match=r"there is no .*test\.npz"):
        LOADERS[name](tmp_path)


@pytest.mark.parametrize("cut", [0, 10, 3000, -5])
def test_a_truncated_file_is_refused_with_what_to_do(cut: int, tmp_path: Path) -> None:
    write(tmp_path, "fashion_mnist")
    path = tmp_path / "fashion_mnist" / "train.npz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataMissing, match=r"train\.npz cannot be read: .*data fetch fashion_mnist --replace"):
        load_fashion_mnist(tmp_path)


def test_an_array_under_the_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "cifar10")
    with (tmp_path / "cifar10" / "train.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataMissing, match="got one array"):
        load_cifar10(tmp_path)


def test_a_file_with_flipped_bytes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "fashion_mnist")
    path = tmp_path / "fashion_mnist" / "train.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataMissing, match="cannot be read"):
        load_fashion_mnist(tmp_path)


WRONG = {
    "other shape": {"images": np.zeros((60, 3, 32, 32), np.uint8)},
    "other type": {"images": np.zeros((60, 32, 32, 3), np.float32)},
    "other length": {"labels": np.zeros(7, np.uint8)},
    "a class too many": {"images": np.zeros((60, 32, 32, 3), np.uint8), "labels": np.full(60, 10, np.uint8)},
    "a pickle": {"labels": np.array([{}], dtype=object)},
}


@pytest.mark.parametrize("arrays", WRONG.values(), ids=WRONG)
def test_other_arrays_under_the_name_are_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    write(tmp_path, "cifar10", **arrays)
    with pytest.raises(DataMissing, match=r"cannot be read: .*data fetch cifar10 --replace"):
        load_cifar10(tmp_path)


def test_other_bytes_have_another_hash_and_the_catalog_s_facts_follow_the_files(tmp_path: Path) -> None:
    write(tmp_path, "cifar10")
    [first] = [facts for facts in scan(tmp_path) if facts.kind == "cifar10"]
    assert (first.num_train, first.num_validation, first.num_test) == (50, 10, 20)
    assert (first.input_shape, first.num_classes) == ((3, 32, 32), 10)
    write(tmp_path, "cifar10", num_train=90)
    second = sets.facts_of(SPECS["cifar10"], tmp_path)
    assert second.num_train == 75
    assert second.sha256 != first.sha256


def test_facts_are_read_once_per_state_of_the_files_and_the_arrays_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "cifar10")
    reads = []
    read = photographs.load_cifar10
    monkeypatch.setitem(sets.LOADERS, "cifar10", lambda folder: reads.append(folder) or read(folder))
    before = sets._loaded.cache_info().currsize
    facts = [sets.facts_of(SPECS["cifar10"], tmp_path) for _ in range(3)]
    assert len(reads) == 1
    assert facts[0] == facts[2]
    assert sets._loaded.cache_info().currsize == before


def test_a_damaged_set_is_not_published(tmp_path: Path) -> None:
    write(tmp_path, "cifar10")
    write(tmp_path, "fashion_mnist")
    (tmp_path / "cifar10" / "test.npz").write_bytes(b"")
    kinds = {facts.kind for facts in scan(tmp_path)}
    assert "fashion_mnist" in kinds
    assert "cifar10" not in kinds
