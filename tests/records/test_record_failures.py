"""A store that is interrupted, full or unwritable says so and loses nothing that was committed."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import PlaceError
from workers.records import Manifest, RecordStore, manifest_from_json
from workers.records.places import open_place

PROJECT = Path(__file__).parents[2]
MakeChunk = Callable[..., dict[str, dict[str, np.ndarray]]]

WRITE_FOR_EVER = """
import sys
import numpy as np
from itertools import count
from workers.records import RecordStore, manifest_to_json
rows = 20_000
writer = RecordStore(sys.argv[1]).writer("p", 0)
for chunk in count():
    loss = np.random.default_rng(chunk).standard_normal(rows)
    writer.write(chunk, chunk + 1, {"steps": {
        "trial_id": ["t"] * rows, "step": np.full(rows, chunk), "lr": loss, "train_loss": loss,
        "gradient_norm": loss, "update_norm": loss}})
    print(manifest_to_json(writer.manifest), flush=True)
"""


def start_writing(root: Path, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        **options,  # type: ignore[call-overload]
    )


def all_files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("num_commits", [1, 4])
def test_a_writer_killed_at_any_moment_leaves_what_it_committed(tmp_path: Path, num_commits: int) -> None:
    with start_writing(tmp_path) as writing:
        assert writing.stdout is not None
        last = [writing.stdout.readline() for _ in range(num_commits)][-1]
        writing.send_signal(signal.SIGKILL)
    manifest = manifest_from_json(last)
    store = RecordStore(tmp_path)
    assert store.read(manifest, "steps").num_rows == 20_000 * num_commits
    store.sweep("p", manifest)
    assert all_files(tmp_path) == {segment.name for segment in manifest}


def test_a_file_that_outgrows_its_limit_is_said_and_leaves_no_trace(tmp_path: Path) -> None:
    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    with start_writing(tmp_path, preexec_fn=limit_file_size) as writing:
        output, errors = writing.communicate(timeout=30)
    assert output == ""
    assert f"PlaceError: {tmp_path}/packs/p/0/steps: cannot write this folder: File too large" in errors
    assert "WARMUP_BENCH_RECORDS" in errors
    assert all_files(tmp_path) == set()


@pytest.fixture
def committed(tmp_path: Path, make_chunk: MakeChunk) -> tuple[RecordStore, Manifest]:
    """A store on disk that holds one chunk."""
    store = RecordStore(tmp_path / "records")
    writer = store.writer("p", 0)
    writer.write(0, 10, make_chunk(["a", "b"], 0, 10))
    return store, writer.manifest


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_disk_is_said_and_what_was_committed_stays(
    committed: tuple[RecordStore, Manifest], make_chunk: MakeChunk, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store, manifest = committed
    before = all_files(Path(store.root))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = store.writer("p", 0, manifest)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(PlaceError, match=r"records/packs/p/0/steps.*No space left"):
            writer.write(10, 20, make_chunk(["a", "b"], 10, 10))
    assert writer.manifest == manifest
    assert all_files(Path(store.root)) == before
    assert store.read(manifest, "steps").num_rows == 20
    writer.write(10, 20, make_chunk(["a", "b"], 10, 10))
    assert store.read(writer.manifest, "steps").num_rows == 40


def test_a_chunk_whose_second_table_fails_leaves_no_first_one(
    committed: tuple[RecordStore, Manifest], make_chunk: MakeChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, manifest = committed
    before = all_files(Path(store.root))
    link = os.link

    def refuse_events(source: str, target: Path) -> None:
        if "events" in str(target):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        link(source, target)

    monkeypatch.setattr(os, "link", refuse_events)
    writer = store.writer("p", 0, manifest)
    with pytest.raises(PlaceError, match="events"):
        writer.write(10, 20, make_chunk(["a", "b"], 10, 10))
    assert writer.manifest == manifest
    assert all_files(Path(store.root)) == before


def test_a_file_system_without_hard_links_is_written_all_the_same(
    tmp_path: Path, make_chunk: MakeChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    store = RecordStore(tmp_path)
    first, second = store.writer("p", 0), store.writer("p", 0)
    first.write(0, 10, make_chunk(["a"], 0, 10))
    second.write(0, 10, make_chunk(["a", "b"], 0, 10))
    assert store.read(first.manifest, "steps").num_rows == 10
    assert store.read(second.manifest, "steps").num_rows == 20
    assert all_files(tmp_path) == {segment.name for segment in (*first.manifest, *second.manifest)}


@pytest.mark.parametrize("blocked", ["records", "records/packs", "records/packs/p"])
def test_a_file_in_the_place_of_a_folder_is_said(tmp_path: Path, make_chunk: MakeChunk, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / blocked).write_text("not a folder")
    store = RecordStore(tmp_path / "records")
    with pytest.raises(PlaceError, match=f"{tmp_path}/records"):
        store.writer("p", 0).write(0, 10, make_chunk(["a"], 0, 10))
    assert (tmp_path / blocked).read_text() == "not a folder"


def test_a_place_that_cannot_be_written_is_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("not a folder")
    with pytest.raises(PlaceError, match="cannot write this folder"):
        RecordStore(tmp_path / "records").check_writable()


def test_a_checkpoint_that_cannot_be_written_is_said(
    committed: tuple[RecordStore, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, manifest = committed

    def refuse(_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(PlaceError, match="Read-only file system"):
        store.save_checkpoint("p", 0, 10, {"position": 10}, manifest)
    assert all_files(Path(store.root)) == {segment.name for segment in manifest}


@pytest.mark.parametrize("root", ["no-such-protocol://bucket/prefix", "unknown://x"])
def test_a_url_that_nothing_here_can_open_is_said(root: str) -> None:
    with pytest.raises(PlaceError, match=root):
        RecordStore(root)


def test_a_store_keeps_its_place_when_the_process_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = RecordStore("records")
    monkeypatch.chdir(tmp_path / "elsewhere")
    checkpoint = store.save_checkpoint("p", 0, 1, {"position": 1})
    assert (tmp_path / "records" / checkpoint.name).is_file()


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    assert RecordStore(f"file://{tmp_path}/records").root == f"{tmp_path}/records"


def test_writing_imports_no_pandas(tmp_path: Path) -> None:
    program = (
        WRITE_FOR_EVER.replace("in count()", "in range(2)") + "print(sorted({'pandas', 'torch'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    ).stdout
    assert output.splitlines()[-1] == "[]"


def test_a_log_takes_the_place_of_its_older_self_and_leaves_nothing_beside_it(tmp_path):
    place = open_place(tmp_path)
    for text in (b"first", b"first and second"):
        place.put("logs/s/driver-a1.log", text)
        assert place.get("logs/s/driver-a1.log") == text
    assert [path.name for path in (tmp_path / "logs" / "s").iterdir()] == ["driver-a1.log"]


def test_a_place_that_cannot_be_written_refuses_a_log_too(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(PlaceError):
        open_place(tmp_path).put("logs/s/driver-a1.log", b"text")
