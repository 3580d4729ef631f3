"""The digits are scikit-learn's, split once, the same bytes from every source."""

import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from schemas.errors import DataMissing
from schemas.workloads import Digits
from workers.data import DatasetArrays, digits, load, scan
from workers.data.arrays import canonical_sha256

PROJECT = Path(__file__).parents[2]
SPEC = Digits(kind="digits")


@pytest.fixture(scope="module")
def arrays() -> DatasetArrays:
    if digits.packaged_csv() is None:
        pytest.skip("scikit-learn is not installed")
    return load(SPEC, None)


@pytest.fixture
def without_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "packaged_csv", lambda: None)


def test_the_images_are_those_of_scikit_learn_each_once(arrays: DatasetArrays) -> None:
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    images, labels = sklearn_datasets.load_digits(return_X_y=True)
    ours = np.concatenate([arrays.train_x, arrays.validation_x, arrays.test_x]) * 16
    our_labels = np.concatenate([arrays.train_y, arrays.validation_y, arrays.test_y])

    def rows(x: np.ndarray, y: np.ndarray) -> list[tuple]:
        return sorted(map(tuple, np.column_stack([x, y]).astype(int).tolist()))

    assert rows(ours, our_labels) == rows(images, labels)


def test_the_split_has_the_counts_and_types_that_the_spec_states(arrays: DatasetArrays) -> None:
    shapes = [x.shape for x in (arrays.train_x, arrays.validation_x, arrays.test_x)]
    assert shapes == [(1149, 64), (288, 64), (360, 64)]
    assert [len(y) for y in (arrays.train_y, arrays.validation_y, arrays.test_y)] == [1149, 288, 360]
    assert arrays.train_x.dtype == np.float32
    assert arrays.train_y.dtype == np.int64
    assert (arrays.train_x.min(), arrays.train_x.max()) == (0, 1)
    assert set(arrays.train_y) == set(arrays.test_y) == set(range(arrays.num_classes))


def test_the_split_never_changes(arrays: DatasetArrays) -> None:
    # These decide every trial id: a change here is a new data set and needs a new name.
    assert arrays.sha256 == "94aa1c5e747b915130b6f10888121738a53f0b872f3e9b6d65fb978ed411f9ca"
    assert arrays.train_y[:10].tolist() == [7, 2, 9, 2, 8, 6, 8, 3, 3, 7]


def test_the_hash_is_of_the_arrays_as_they_are(arrays: DatasetArrays) -> None:
    named = {
        name: getattr(arrays, name)
        for name in ("train_x", "train_y", "validation_x", "validation_y", "test_x", "test_y")
    }
    big_endian = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in named.items()}
    assert canonical_sha256(named) == canonical_sha256(big_endian) == arrays.sha256
    changed = {**named, "test_y": (named["test_y"] + 1) % 10}
    assert canonical_sha256(changed) != arrays.sha256


def test_label_entropy_is_the_loss_of_the_best_constant_answer(arrays: DatasetArrays) -> None:
    shares = [np.mean(arrays.train_y == label) for label in range(10)]
    constant_answer = np.log(shares)
    assert arrays.label_entropy == pytest.approx(-np.mean(constant_answer[arrays.train_y]), rel=1e-12)
    assert arrays.label_entropy < math.log(10)


def test_arrays_are_shared_and_cannot_be_changed(arrays: DatasetArrays) -> None:
    assert load(SPEC, None) is arrays
    with pytest.raises(ValueError, match="read-only"):
        arrays.train_x[0, 0] = 1


def test_facts_are_what_the_catalog_needs(arrays: DatasetArrays) -> None:
    facts = next(found for found in scan(None) if found.kind == "digits")
    assert facts.model_dump(mode="json") == {
        "kind": "digits",
        "sha256": arrays.sha256,
        "num_train": 1149,
        "num_validation": 288,
        "num_test": 360,
        "num_classes": 10,
        "input_shape": [64],
        "source": "scikit-learn's package",
        "reference_loss": arrays.label_entropy,
    }


@pytest.mark.parametrize("shape", [(-1, 64), (-1, 8, 8)])
def test_an_npz_gives_the_same_bytes_where_scikit_learn_is_missing(
    tmp_path: Path, arrays: DatasetArrays, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    csv = digits.packaged_csv()
    assert csv is not None
    images, labels = digits._from_csv(csv)
    np.savez_compressed(tmp_path / "digits.npz", images=images.reshape(shape).astype(float), labels=labels)
    monkeypatch.setattr(digits, "packaged_csv", lambda: None)
    from_npz = digits.load_digits(tmp_path)
    assert from_npz.sha256 == arrays.sha256
    assert from_npz.source == str(tmp_path / "digits.npz")


@pytest.mark.usefixtures("without_sklearn")
def test_no_source_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=rf"pip install scikit-learn.*digits\.npz in {tmp_path}"):
        digits.load_digits(tmp_path)


@pytest.mark.usefixtures("without_sklearn")
def test_other_numbers_under_the_name_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", images=np.zeros((1797, 64)), labels=np.zeros(1797))
    with pytest.raises(DataMissing, match="does not hold the digits: sha256 got"):
        digits.load_digits(tmp_path)


@pytest.mark.usefixtures("without_sklearn")
@pytest.mark.parametrize("content", [b"", b"PK torn", b"\x93NUMPY"])
def test_a_torn_npz_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "digits.npz").write_bytes(content)
    with pytest.raises(DataMissing, match=r"digits\.npz cannot be read"):
        digits.load_digits(tmp_path)


@pytest.mark.usefixtures("without_sklearn")
def test_an_npz_of_other_arrays_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", images=np.zeros((5, 64)), labels=np.zeros(5))
    with pytest.raises(DataMissing, match=r"got images \(5, 64\)"):
        digits.load_digits(tmp_path)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataMissing, match=r"got imagenet, allowed .*digits"):
        load(SimpleNamespace(kind="imagenet"), None)  # type: ignore[arg-type]


def test_publishing_needs_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    program = (
        "import sys; from workers.data.__main__ import main; main(['--publish', '--home', sys.argv[1]]); "
        "print(sorted({'torch', 'sklearn', 'pyarrow'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    ).stdout.splitlines()
    assert output[-1] == "[]"
    assert len(output) == 1 + len(scan(None))
