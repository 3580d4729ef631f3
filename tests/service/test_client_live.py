"""The client against the real service on a real socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest
import stamina
from pydantic import ValidationError

from schemas.errors import SpecError
from schemas.presets import preset_names
from service.client import ApiError, Client, Event, Study, SubmitUnanswered, WaitTimeout, client, events, waiting
from tests.e2e.specs import digits
from tests.ledger.making import drive
from tests.service.live_server import Live, live_server


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    stamina.instrumentation.set_on_retry_hooks([])
    with live_server(tmp_path_factory.mktemp("served")) as server:
        yield server
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def ours(live: Live) -> Iterator[Client]:
    with Client(live.url, live.key, retry_s=5) as opened:
        yield opened


def submitted(ours: Client, name: str, **more: object) -> Study:
    return ours.submit(digits(20, name=name), **more)  # type: ignore[arg-type]


def by_name(ours: Client, name: str) -> list[str]:
    return [study.id for study in ours.studies(name=name)]


def test_a_submitted_study_is_a_typed_frozen_resource(ours: Client) -> None:
    study = submitted(ours, "typed", priority=3)
    assert (study.state, study.priority, study.total, study.counts.queued) == ("queued", 3, 16, 16)
    assert ours.study(study.id).spec["name"] == "typed"
    with pytest.raises(ValidationError, match="frozen"):
        study.name = "other"


def test_a_study_may_be_sent_as_yaml(ours: Client) -> None:
    assert ours.submit(ours.preset("quickstart")).name == "quickstart"


def test_each_submission_is_a_study_and_each_key_is_one(ours: Client) -> None:
    first, second = submitted(ours, "twice"), submitted(ours, "twice")
    assert first.id != second.id
    one = submitted(ours, "keyed", idempotency_key="a-key")
    assert submitted(ours, "keyed", idempotency_key="a-key").id == one.id
    with pytest.raises(ApiError) as error:
        submitted(ours, "keyed otherwise", idempotency_key="a-key")
    assert (error.value.status, error.value.code) == (422, "idempotency_key_reused")


def test_a_key_that_no_header_can_hold_is_refused_here(ours: Client) -> None:
    with pytest.raises(SpecError, match="idempotency_key: got"):
        submitted(ours, "keyed", idempotency_key="two words")


def test_a_refused_study_names_every_field(ours: Client) -> None:
    document = digits(20)
    document["optimizers"][0]["momentum"] = float("nan")
    document["seeds"] = {"count": 0}
    with pytest.raises(ApiError) as error:
        ours.submit(document)
    assert (error.value.status, error.value.code) == (422, "spec_refused")
    fields = {problem.field: problem.got for problem in error.value.errors}
    assert fields == {"optimizers[0].momentum": "'NaN'", "seeds.count": "0"}
    assert error.value.request_id


def test_lists_go_over_all_pages(ours: Client) -> None:
    made = [submitted(ours, "paged").id for _ in range(3)]
    assert [study.id for study in ours.studies(page=1, name="paged")] == made[::-1]
    first, cursor = ours.studies_page(2, name="paged")
    second, end = ours.studies_page(2, cursor, name="paged")
    assert [study.id for study in first + second] == made[::-1]
    assert end is None
    trials = list(ours.trials(made[0], page=5))
    assert [trial.num_index for trial in trials] == list(range(16))
    assert ours.trial(trials[3].id).peak_lr == trials[3].peak_lr
    assert len(list(ours.trials(made[0], optimizer="sgd"))) == 8


def test_a_plan_a_catalog_and_presets_are_answered(ours: Client) -> None:
    assert ours.plan(digits(20))["trials"] == 16
    assert "linear" in {kind.kind for kind in ours.catalog().kinds if kind.family == "warmup"}
    assert "quickstart" in {preset.name for preset in ours.presets()}


def test_every_page_of_the_presets_is_read(ours: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.client.PAGE", 1)
    assert [preset.name for preset in ours.presets()] == list(preset_names())


def test_an_extension_that_is_sent_twice_is_answered_as_the_first_one(ours: Client) -> None:
    study = submitted(ours, "widened")
    wider = digits(20, name="widened") | {"seeds": {"count": 9}}
    answers = [ours.extend(study.id, wider, idempotency_key="twice") for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].extension.num_new > 0
    assert ours.extend(study.id, wider).extension.num_new == 0  # a key of its own, made anew


def test_records_of_a_trial_that_has_none_are_empty_columns(ours: Client) -> None:
    trial = next(ours.trials(submitted(ours, "unread").id))
    assert ours.records(trial.id, columns=["step", "train_loss"]) == {"step": [], "train_loss": []}
    table = ours.records_table(trial.id, "probes", columns=["value"], first_step=3)
    assert table.schema.names == ["value"]
    assert table.schema.field("value").type == pa.float64()


def test_somebody_elses_study_is_not_there(live: Live, ours: Client) -> None:
    study = submitted(ours, "ours")
    _, key = live.ledger.create_key("other", ("read", "submit"), "other team")
    with Client(live.url, key) as theirs, pytest.raises(ApiError) as error:
        theirs.study(study.id)
    assert (error.value.status, error.value.code) == (404, "study_not_found")


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("wb_" + "x" * 43, 401)])
def test_a_key_that_is_none_is_refused(live: Live, key: str | None, status: int) -> None:
    with Client(live.url, key) as stranger, pytest.raises(ApiError) as error:
        next(stranger.studies())
    assert error.value.status == status


def test_an_id_is_no_path(ours: Client) -> None:
    for text in ("../studies", "a/b", "..", "", "x?limit=1", "ä"):
        with pytest.raises(ApiError) as error:
            ours.study(text)
        assert error.value.status == 404


def test_a_cancel_is_of_the_version_that_was_read(ours: Client) -> None:
    study = submitted(ours, "cancelled")
    with pytest.raises(ApiError) as error:
        ours.cancel(study.id, version=study.version + 1)
    assert error.value.status == 412
    assert ours.cancel(study.id, version=study.version).state == "cancelled"
    assert ours.cancel(study.id).state == "cancelled"


def test_waiting_ends_when_the_study_is_final(ours: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_FIRST_S", 0.05)
    study = submitted(ours, "waited for")
    with pytest.raises(WaitTimeout, match="goes on"):
        ours.wait(study.id, timeout_s=0.3)
    timer = threading.Timer(0.3, lambda: ours.cancel(study.id))
    timer.start()
    final = ours.wait(study.id, timeout_s=60)
    timer.join()
    assert (final.state, final.counts.cancelled) == ("cancelled", 16)


@contextmanager
def proxy(live: Live, *, cut_after: int, times: int) -> Iterator[str]:
    """Hands bytes on, and drops the answers of the first `times` connections after so many bytes of them."""
    host, port = live.url.removeprefix("http://").split(":")
    left = [times]
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(inner: socket.socket) -> None:
        is_cut = left[0] > 0
        left[0] -= 1
        with inner, socket.create_connection((host, int(port))) as outer:
            upwards = threading.Thread(target=pump, args=(inner, outer, None), daemon=True)
            upwards.start()
            pump(outer, inner, cut_after if is_cut else None)

    def pump(source: socket.socket, target: socket.socket, at_most: int | None) -> None:
        sent = 0
        try:
            while piece := source.recv(4096):
                part = piece if at_most is None else piece[: at_most - sent]
                target.sendall(part)
                sent += len(part)
                if sent == at_most:
                    break
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side has gone

    def accept() -> None:
        while True:
            try:
                inner, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(inner,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


@pytest.mark.parametrize("cut_after", [0, 20, 400])
def test_a_lost_answer_to_a_submission_makes_no_second_study(live: Live, ours: Client, cut_after: int) -> None:
    name = f"lost after {cut_after}"
    with proxy(live, cut_after=cut_after, times=2) as url, Client(url, live.key, retry_s=10) as behind:
        study = submitted(behind, name)
    assert by_name(ours, name) == [study.id]


def test_a_submission_that_is_never_answered_says_how_to_ask_again(live: Live, ours: Client) -> None:
    with (
        proxy(live, cut_after=0, times=99) as url,
        Client(url, live.key, retry_s=0.5) as behind,
        pytest.raises(SubmitUnanswered, match="may have been accepted") as error,
    ):
        submitted(behind, "unanswered")
    again = submitted(ours, "unanswered", idempotency_key=error.value.idempotency_key)
    assert by_name(ours, "unanswered") == [again.id]


def make_events(live: Live, study_id: str, number: int) -> None:
    """Play a driver that does nothing but say that its results are published, or not."""
    for index in range(number):
        live.ledger.set_publishing(study_id, "behind" if index % 2 else "current", reason="because of \u2028 a test")


def told(stream: Iterator[Event]) -> list[int]:
    return [event.seq for event in stream]


@pytest.mark.parametrize("cut_after", [0, 700, 1500, 4000])
def test_a_stream_that_breaks_again_and_again_tells_every_event_once(
    live: Live, ours: Client, cut_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAUSE_FIRST_S", 0.01)
    study = submitted(ours, f"broken after {cut_after}")
    make_events(live, study.id, 40)
    ours.cancel(study.id)
    everything = told(ours.events(study.id))
    assert everything == list(range(1, len(everything) + 1))
    assert len(everything) > 40
    with proxy(live, cut_after=cut_after, times=6 if cut_after else 3) as url, Client(url, live.key) as behind:
        assert told(behind.events(study.id)) == everything
        assert told(behind.events(study.id, after=30)) == everything[30:]


def test_events_come_while_they_happen_and_end_with_the_study(live: Live, ours: Client) -> None:
    study = submitted(ours, "live")
    stream = ours.events(study.id)
    assert next(stream).kind == "study_created"
    drive(live.ledger, study.id)
    live.ledger.set_study_state(study.id, "running")
    assert next(stream).kind == "study_running"
    assert ours.cancel(study.id).cancel_requested
    assert next(stream).kind == "cancel_requested"
    live.ledger.set_study_state(study.id, "cancelled")
    assert [event.kind for event in stream][-1] == "study_cancelled"


def test_the_fields_of_a_newer_server_are_passed_over(ours: Client) -> None:
    study = submitted(ours, "newer")
    document = study.model_dump(mode="json")
    document |= {"new": 1, "counts": document["counts"] | {"new": 1}, "links": document["links"] | {"new": "x"}}
    assert Study.model_validate(document) == study


def test_numbers_that_are_not_finite_come_back_as_floats() -> None:
    summary = client.Trial.model_fields["summary"].annotation.__args__[0]  # type: ignore[union-attr]
    assert summary.model_validate({"final": {"train_loss": "Infinity"}}).final["train_loss"] == float("inf")
