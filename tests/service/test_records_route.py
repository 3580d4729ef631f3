"""GET /v1/trials/{id}/records: JSON pages or Parquet of one trial, while its pack trains and after."""

import io
import math
from dataclasses import asdict, replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.records import PACK_TABLES, names
from service.routes.records import MAX_JSON_ROWS, PARQUET, RecordQuery
from tests.ledger.making import digest, planned, receipt
from tests.records.conftest import chunk_of
from workers.ledger.inputs import PackProgress
from workers.records import RecordStore
from workers.records import store as store_module

IDS = [digest(f"t{i}") for i in range(4)]
ROWS = 60


class Pack:
    """One pack of four trials that trains by hand: `train` writes a chunk and commits it, `end` compacts."""

    def __init__(self, ledger, places):
        self.ledger, self.store = ledger, RecordStore(places.records, durable=False)
        self.study_id, self.fence, (self.pack_id,) = planned(ledger, 4, size=4, owner="team")
        (self.row,) = ledger.start_packs(self.study_id, [self.pack_id], self.fence)
        self.writer = self.store.writer(self.pack_id, 1)

    def train(self, first, num_steps=10, **changed):
        chunk = chunk_of(IDS, first, num_steps)
        chunk["steps"] |= changed
        self.writer.write(first, first + num_steps - 1, chunk)
        self.commit(self.writer.manifest, first + num_steps)

    def commit(self, manifest, step):
        said = [asdict(segment) for segment in manifest]
        self.ledger.record_progress(self.study_id, self.fence, [PackProgress(self.pack_id, 1, said, None, step)])

    def end(self):
        before = self.writer.manifest
        after = self.store.compact(self.pack_id, 1, before, trial_ids=IDS)
        said = [asdict(segment) for segment in before]
        self.ledger.commit_receipts(self.study_id, self.fence, [replace(receipt(self.row), manifest=said)])
        assert self.ledger.compacted(self.study_id, self.pack_id, self.fence, said, [asdict(s) for s in after])
        self.store.delete(before)


@pytest.fixture
def pack(open_ledger, places):
    return Pack(open_ledger, places)


@pytest.fixture
def trained(pack):
    for first in range(0, ROWS, 10):
        pack.train(first)
    return pack


@pytest.fixture
def reader(service):
    with service.client(service.key("read", owner="team")) as client:
        yield client


def get(client, trial_id=IDS[1], accept="application/json", **params):
    return client.get(f"/v1/trials/{trial_id}/records", params=params, headers={"Accept": accept})


def all_items(client, **params):
    """Every row, page by page, by the cursors alone."""
    items, cursor = [], {}
    while True:
        page = get(client, **params, **cursor).json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def refused(answer, status, code):
    body = answer.json()
    assert (answer.status_code, body["code"], answer.headers["content-type"]) == (
        status,
        code,
        "application/problem+json",
    )
    return body


def test_the_tables_that_may_be_asked_for_are_those_that_trainers_write():
    assert set(RecordQuery.model_json_schema()["properties"]["table"]["enum"]) == set(PACK_TABLES)


def test_a_page_has_a_trials_own_rows_by_step_and_all_columns(reader, trained):
    page = get(reader).json()
    assert [row["step"] for row in page["items"]] == list(range(50))
    assert {row["trial_id"] for row in page["items"]} == {IDS[1]}
    assert tuple(page["items"][0]) == names("steps")


def test_pages_end_to_end_are_all_rows_once_and_the_link_says_the_same(reader, trained):
    assert [row["step"] for row in all_items(reader, limit=7)] == list(range(ROWS))
    first = get(reader, limit=40, columns="step")
    second = reader.get(first.links["next"]["url"])
    assert [row["step"] for row in second.json()["items"]] == list(range(40, ROWS))
    assert "next" not in second.links


def test_rows_are_chosen_by_columns_steps_and_thinning(reader, trained):
    page = get(reader, columns="train_loss,step", first_step=10, last_step=30, every=5).json()
    assert [row["step"] for row in page["items"]] == [10, 15, 20, 25, 30]
    assert all(tuple(row) == ("step", "train_loss") for row in page["items"])


def test_parquet_has_the_same_rows_in_one_file_with_their_meaning(reader, trained):
    answer = get(reader, accept=PARQUET)
    assert answer.headers["content-type"] == PARQUET
    table = pq.read_table(io.BytesIO(answer.content))
    assert table["step"].to_pylist() == list(range(ROWS))
    assert table.schema.field("lr").metadata[b"meaning"].startswith(b"rate of the update")
    rows = all_items(reader)
    assert table["train_loss"].to_pylist() == [row["train_loss"] for row in rows]


def test_parquet_may_be_paged_by_its_link(reader, trained):
    first = get(reader, accept=PARQUET, limit=45)
    second = reader.get(first.links["next"]["url"], headers={"Accept": PARQUET})
    assert pq.read_table(io.BytesIO(second.content))["step"].to_pylist() == list(range(45, ROWS))


def test_what_is_not_finite_is_a_word_in_json_and_real_in_parquet(reader, pack):
    losses = np.tile([math.nan, math.inf, -math.inf, 0.5], 10)
    pack.train(0, train_loss=losses, trial_id=np.array([IDS[1]] * 40), step=np.arange(40))
    assert [row["train_loss"] for row in get(reader, limit=4).json()["items"]] == ["NaN", "Infinity", "-Infinity", 0.5]
    table = pq.read_table(io.BytesIO(get(reader, accept=PARQUET, limit=4).content))
    np.testing.assert_array_equal(table["train_loss"].to_numpy(), losses[:4])


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/*", "application/json"),
        (f"text/html, {PARQUET}", PARQUET),
        (f"application/json;q=0.5, {PARQUET}", PARQUET),
        (f"{PARQUET};q=0, */*", "application/json"),
    ],
)
def test_the_accept_header_decides(reader, trained, accept, media_type):
    answer = get(reader, accept=accept)
    assert (answer.headers["content-type"], answer.headers["vary"]) == (media_type, "Accept")


def test_what_cannot_be_answered_is_a_406_that_names_what_can(reader, trained):
    for accept in ("text/csv", "application/json;q=0", "application/json;q=nan"):
        assert PARQUET in refused(get(reader, accept=accept), 406, "not_acceptable")["detail"]


@pytest.mark.parametrize(
    ("params", "field", "allowed"),
    [
        ({"table": "trials"}, "table", "steps"),
        ({"table": "../../etc/passwd"}, "table", "steps"),
        ({"columns": "step,loss"}, "columns", "train_loss"),
        ({"columns": ""}, "columns", "train_loss"),
        ({"table": "probes", "columns": "train_loss"}, "columns", "converged"),
        ({"first_step": "-1"}, "first_step", "0"),
        ({"first_step": "5", "last_step": "4"}, "last_step", "5"),
        ({"every": "0"}, "every", "1"),
        ({"limit": "0"}, "limit", "1"),
        ({"limit": str(MAX_JSON_ROWS + 1)}, "limit", str(MAX_JSON_ROWS)),
        ({"table": "timings", "every": "2"}, "every", "no step"),
        ({"colums": "step"}, "colums", "no parameter"),
    ],
)
def test_what_is_refused_says_field_and_what_is_allowed(reader, trained, params, field, allowed):
    (problem,) = refused(get(reader, **params), 422, "invalid_parameter")["errors"]
    assert problem["field"] == field
    assert allowed in problem["allowed"]


def test_a_cursor_of_another_table_or_none_at_all_is_refused(reader, trained):
    cursor = get(reader, limit=5).json()["next"]
    for params in ({"table": "events", "cursor": cursor}, {"cursor": "x"}, {"cursor": ""}, {"cursor": cursor + "A"}):
        refused(get(reader, **params), 400, "bad_cursor")


def test_a_trial_of_another_owner_is_as_one_that_is_not_there(service, reader, trained):
    with service.client(service.key("read", owner="others")) as other:
        refused(get(other), 404, "trial_not_found")
    for trial_id in ("0" * 64, "x", IDS[1][:-1]):
        refused(get(reader, trial_id), 404, "trial_not_found")
    with service.client(service.key("admin", owner="others")) as admin:
        assert get(admin).status_code == 200
    with service.client(service.key("submit", owner="team")) as submitter:
        refused(get(submitter), 403, "scope_missing")


def test_a_trial_that_has_recorded_nothing_has_no_rows(reader, pack):
    assert get(reader).json() == {"items": [], "next": None}
    assert pq.read_table(io.BytesIO(get(reader, accept=PARQUET).content)).num_rows == 0


def test_a_reader_goes_on_where_it_was_while_the_pack_trains_on_and_is_compacted(reader, pack):
    pack.train(0)
    pack.train(10)
    first = get(reader, limit=15, columns="step").json()
    pack.train(20)
    second = get(reader, limit=10, columns="step", cursor=first["next"]).json()
    pack.end()
    third = get(reader, columns="step", cursor=second["next"]).json()
    assert [row["step"] for page in (first, second, third) for row in page["items"]] == list(range(30))


def test_a_segment_that_goes_between_manifest_and_read_is_looked_for_again(service, reader, trained, monkeypatch):
    pages = service.app.state.record_pages
    manifest_of, asked = pages._manifest, []

    def and_then_it_is_compacted(trial):
        found = manifest_of(trial)
        if not asked:
            trained.end()
        asked.append(trial)
        return found

    monkeypatch.setattr(pages, "_manifest", and_then_it_is_compacted)
    assert len(all_items(reader, columns="step")) == ROWS
    assert len(asked) >= 2


def test_a_file_that_is_lost_for_good_is_a_failure_of_the_service_that_names_no_place(service, reader, trained):
    trained.store.delete(trained.writer.manifest)
    problem = refused(get(reader), 500, "record_corrupt")
    assert str(service.app.state.settings.places.home) not in str(problem)


def test_only_the_segments_of_the_asked_steps_are_read(reader, trained):
    kept = [s for s in trained.writer.manifest if s.table == "steps" and s.first_step == 20]
    trained.store.delete([s for s in trained.writer.manifest if s not in kept])
    page = get(reader, first_step=20, last_step=29).json()
    assert [row["step"] for row in page["items"]] == list(range(20, 30))


def test_a_compacted_pack_is_not_fetched_whole(service, reader, trained, monkeypatch):
    trained.end()
    monkeypatch.setattr(store_module, "WHOLE_BYTES", 0)
    place = service.app.state.record_pages._store._place
    monkeypatch.setattr(type(place), "get", lambda *_: pytest.fail("a whole object was fetched"))
    assert len(all_items(reader, columns="step,lr")) == ROWS
