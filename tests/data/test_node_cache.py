"""A data set once per node: two trainers map the same file, and other bytes than the study's never reach one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.workloads import Digits
from workers.data import node_cache as module
from workers.data.digits import load_digits
from workers.data.node_cache import _mapped_once, load_once_per_node, node_cache
from workers.data.texts import PARTS, frozen_text

SHA256 = load_digits(None).sha256

MAPS = """
import sys
from pathlib import Path
from schemas.workloads import Digits
from workers.data.node_cache import load_once_per_node

arrays = load_once_per_node(Digits(kind="digits"), None, sys.argv[2], Path(sys.argv[1]))
arrays.train_x.sum()
mapped = [line.split() for line in open("/proc/self/maps") if ".npy" in line]
print(sorted({words[4] + ":" + words[-1].split("/")[-1] for words in mapped}))
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def nothing_mapped_before():
    _mapped_once.cache_clear()
    yield
    _mapped_once.cache_clear()


def loaded(cache: Path):
    _mapped_once.cache_clear()  # as another process
    return load_once_per_node(Digits(kind="digits"), None, SHA256, cache)


def test_the_arrays_are_those_of_the_data_directory_and_read_only(tmp_path: Path) -> None:
    for arrays in (loaded(tmp_path), loaded(tmp_path)):
        assert arrays.sha256 == SHA256
        assert np.array_equal(arrays.train_x, load_digits(None).train_x)
        with pytest.raises(ValueError, match="read-only"):
            arrays.train_x[0] = 0.0


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux tells what a process has mapped")
def test_two_trainers_map_the_same_file(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", MAPS, str(tmp_path), SHA256]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    both = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.stdout.readline() for process in both)  # type: ignore[union-attr]
    for process in both:
        process.communicate()
    assert first == second, "inode and name of each file"
    assert "train_x.npy" in first
    inode = (tmp_path / SHA256 / "train_x.npy").stat().st_ino
    assert f"{inode}:train_x.npy" in first


@pytest.mark.parametrize("name", ["train_x.npy", "test_y.npy", "set.json"])
def test_a_wrong_byte_is_refused_and_made_anew(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    loaded(tmp_path)
    file = tmp_path / SHA256 / name
    data = bytearray(file.read_bytes())
    data[-90] ^= 1
    file.write_bytes(data)
    arrays = loaded(tmp_path)
    assert np.array_equal(arrays.test_y, load_digits(None).test_y)
    assert np.array_equal(arrays.train_x, load_digits(None).train_x)
    assert "other bytes than its name says" in caplog.text
    assert not list(tmp_path.glob(".*")), "nothing half-written stays"


def test_a_set_that_is_half_there_is_made_anew(tmp_path: Path) -> None:
    loaded(tmp_path)
    (tmp_path / SHA256 / "train_y.npy").unlink()
    assert loaded(tmp_path).sha256 == SHA256


def test_another_set_than_the_studys_is_given_as_the_data_directory_has_it_and_not_kept(tmp_path: Path) -> None:
    # The caller compares the two, and says so.
    arrays = load_once_per_node(Digits(kind="digits"), None, "0" * 64, tmp_path)
    assert arrays.sha256 == SHA256
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_text_is_shared_too(tmp_path: Path) -> None:
    text = frozen_text(np.arange(2000, dtype=np.uint8) % 60, 60, "made here")
    module._write(tmp_path / text.sha256, text)
    mapped = module._mapped(tmp_path / text.sha256, text.sha256)
    assert mapped is not None
    assert all(np.array_equal(getattr(mapped, part), getattr(text, part)) for part in PARTS)
    assert not mapped.train.flags.owndata


def test_the_folder_is_of_the_home_or_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMUP_BENCH_HOME", str(tmp_path / "home"))
    assert node_cache() == tmp_path / "home" / "cache"
    assert (tmp_path / "home" / "cache").stat().st_mode & 0o077 == 0
    monkeypatch.delenv("WARMUP_BENCH_HOME")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert node_cache() == tmp_path / f"warmup-bench-data-{os.getuid()}"


def test_where_no_folder_can_be_shared_a_trainer_keeps_its_data_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WARMUP_BENCH_HOME", str(tmp_path / "file"))
    assert node_cache() is None
    assert loaded(tmp_path / "gone").sha256 == SHA256
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("WARMUP_BENCH_HOME", str(tmp_path / "home"))
    assert node_cache() is None, "a folder of somebody else's making is not trusted"
    assert caplog.text.count("for itself") == 3
