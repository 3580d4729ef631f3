"""Records and checkpoints in an object store: the same rules on S3, as moto plays it, as on a disk."""

from collections.abc import Iterator

import numpy as np
import pytest

from schemas.errors import CorruptRecord, PlaceError
from workers.records import RecordStore
from workers.records.places import open_place

pytestmark = pytest.mark.slow

pytest.importorskip("s3fs", reason="s3fs is not installed: records in an object store are not tested here")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed: there is no S3 to test with")

BUCKET = "records"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 of this process, with one bucket."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def root(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A prefix of this test's own; the store is reached as a user's is, by the environment."""
    import fsspec.config
    import s3fs

    monkeypatch.setitem(fsspec.config.conf, "s3", {"key": "test", "secret": "test", "endpoint_url": endpoint})
    files = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=endpoint)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    return f"s3://{BUCKET}/{abs(hash(request.node.name))}"


STATE = {"params": np.arange(6.0).reshape(2, 3), "position": 30, "loss": float("nan"), "reasons": ["", "stop"]}


def test_a_checkpoint_comes_back_bit_for_bit(root: str) -> None:
    store = RecordStore(root)
    saved = store.save_checkpoint("p", 1, 30, STATE)
    loaded = RecordStore(root).load_checkpoint(saved)
    assert loaded["params"].tobytes() == STATE["params"].tobytes()
    assert (loaded["position"], str(loaded["loss"]), loaded["reasons"]) == (30, "nan", ["", "stop"])


def test_a_name_that_is_taken_is_never_written_over(root: str) -> None:
    place = open_place(root)
    place.put_new("packs/p/1/a", b"first")
    with pytest.raises(FileExistsError):
        place.put_new("packs/p/1/a", b"second")
    assert place.get("packs/p/1/a") == b"first"


def test_a_log_takes_the_place_of_its_older_self(root: str) -> None:
    place = open_place(root)
    place.put("logs/s/driver-a1.log", b"first")
    place.put("logs/s/driver-a1.log", b"first and second")
    assert place.get("logs/s/driver-a1.log") == b"first and second"


def test_a_second_attempt_at_a_checkpoint_takes_the_next_name_and_the_old_one_is_removed(root: str) -> None:
    store = RecordStore(root)
    first, second = (store.save_checkpoint("p", 1, 30, STATE) for _ in range(2))
    assert first.name != second.name
    store.delete([first])
    with pytest.raises(CorruptRecord, match="missing"):
        store.load_checkpoint(first)
    assert store.sweep("p", (), second) == 0
    assert store.load_checkpoint(second)["position"] == 30


def test_bytes_that_are_not_those_committed_are_refused(root: str) -> None:
    store, place = RecordStore(root), open_place(root)
    saved = store.save_checkpoint("p", 1, 30, STATE)
    place.delete(saved.name)
    place.put_new(saved.name, b"cut off")
    with pytest.raises(CorruptRecord, match="not those that were committed"):
        store.load_checkpoint(saved)


def test_a_place_that_cannot_be_reached_says_so(root: str) -> None:
    with pytest.raises(PlaceError, match="cannot write this place"):
        RecordStore(f"s3://no-such-bucket/{root[-5:]}").check_writable()
