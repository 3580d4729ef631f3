"""Texts: their tokens, their parts, the windows cut from them, and files that are missing, damaged or others."""

import importlib
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataMissing
from schemas.workloads import PyDoc, TinyShakespeare
from workers.cluster.pack_runner import _arrays
from workers.data import TextArrays, facts_of, load, pydoc, scan, texts, tinyshakespeare, windows
from workers.data.texts import frozen_text

SHARED = Path(__file__).parents[3] / "shared" / "data"
SHAKESPEARE = TinyShakespeare(kind="tinyshakespeare")
PYDOC = PyDoc(kind="pydoc")


def counting(num: int) -> TextArrays:
    """Tokens that tell their place (below 200 of them)."""
    return frozen_text(np.arange(num) % 251, 251, "counting")


@pytest.fixture(scope="module")
def shakespeare() -> TextArrays:
    if not (SHARED / tinyshakespeare.FILE).is_file():
        pytest.skip("there is no ../shared/data/tinyshakespeare here")
    found = load(SHAKESPEARE, SHARED)
    assert isinstance(found, TextArrays)
    return found


# --- parts and windows ---


@given(num=st.integers(100, 240), context=st.integers(1, 3), subset=st.none() | st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_windows_follow_each_other_and_parts_are_disjoint_and_contiguous(num, context, subset):
    text = counting(num)
    assert np.concatenate([text.train, text.validation, text.test]).tolist() == list(range(num))
    found = windows(text, context, subset)
    seen: dict[str, set[int]] = {}
    for part in texts.PARTS:
        inputs, targets = found[f"{part}_x"], found[f"{part}_y"]
        assert (targets == inputs + 1).all(), "the token that follows, in the text"
        every = inputs.ravel().tolist()
        assert every == list(range(every[0], every[0] + len(every))), "no window overlaps another or leaves a gap"
        seen[part] = {*every, *targets.ravel().tolist()}
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    assert not seen["train"] & seen["test"]
    assert len(found["train_x"]) == min((len(text.train) - 1) // context, subset or num)


def test_training_windows_are_views_of_the_one_stream():
    text = counting(200)
    found = windows(text, 4)
    assert np.shares_memory(found["train_x"], text.train)
    assert np.shares_memory(found["train_y"], text.train)
    assert not found["train_x"].flags.writeable
    assert windows(text, 4) is found, "one set of views for all packs"


def test_long_parts_are_evaluated_on_windows_spread_over_them(monkeypatch):
    monkeypatch.setattr(texts, "EVALUATION_CHARACTERS", 8)
    text = frozen_text(np.arange(4000) % 251, 251, "long")
    whole = (text.validation.shape[0] - 1) // 2
    chosen = windows(text, 2)["validation_x"]
    assert len(chosen) == 4
    starts = [np.flatnonzero((text.validation[:-1] == a) & (text.validation[1:] == b))[0] for a, b in chosen]
    assert starts == [2 * (index * whole // 4) for index in range(4)]


def test_a_context_longer_than_a_part_is_refused():
    with pytest.raises(ValueError, match=r"model\.context: got 10, allowed at most 9, the validation part less one"):
        windows(counting(200), 10)


def test_unigram_entropy_is_the_loss_of_the_best_constant_answer():
    text = frozen_text(np.array([0, 0, 0, 1] * 50, np.uint8), 2, "biased")
    assert text.unigram_entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_the_hash_tells_tokens_vocabulary_and_parts_apart(monkeypatch):
    base = counting(200).sha256
    assert counting(200).sha256 == base
    assert frozen_text(np.arange(200) % 250, 251, "x").sha256 == base, "the same tokens from elsewhere"
    assert frozen_text(np.arange(200), 252, "x").sha256 != base
    assert frozen_text(np.arange(1, 201), 251, "x").sha256 != base
    monkeypatch.setattr(texts, "TRAIN_PERCENT", 80)
    assert counting(200).sha256 != base


# --- tiny shakespeare ---


def test_the_plays_are_the_file_character_by_character(shakespeare):
    written = "".join(
        tinyshakespeare.VOCABULARY[token]
        for part in (shakespeare.train, shakespeare.validation, shakespeare.test)
        for token in part.tolist()
    )
    content = (SHARED / tinyshakespeare.FILE).read_text(encoding="ascii")
    assert written == content
    assert "".join(sorted(set(content))) == tinyshakespeare.VOCABULARY


def test_the_split_and_the_tokens_of_the_plays_never_change(shakespeare):
    # These decide every trial id: a change here is a new data set and needs a new name.
    assert shakespeare.sha256 == "7b6d8e1a0cc05ec342afdb33e5972017a922ea7bd842ef6d9ff523710f0f3616"
    facts = facts_of(SHAKESPEARE, SHARED)
    assert (facts.num_train, facts.num_validation, facts.num_test) == (1_003_854, 55_770, 55_770)
    assert (facts.num_classes, facts.input_shape) == (65, ())
    assert facts.reference_loss == shakespeare.unigram_entropy == pytest.approx(3.309, abs=1e-3)
    assert load(SHAKESPEARE, SHARED) is shakespeare


def put(folder: Path, content: bytes) -> Path:
    path = folder / tinyshakespeare.FILE
    path.parent.mkdir()
    path.write_bytes(content)
    return folder


def test_a_missing_file_says_which_command_gets_it(tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(
            DataMissing, match=r"no tinyshakespeare/input\.txt in .*data fetch tinyshakespeare` gets it"
        ):
            tinyshakespeare.load_tinyshakespeare(folder)


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path, shakespeare):
    content = bytearray((SHARED / tinyshakespeare.FILE).read_bytes())
    content[1000] ^= 1
    with pytest.raises(
        DataMissing, match=r"damaged or another text: sha256 got .*, allowed 86c4e6aa.*data fetch \S+ --replace"
    ):
        tinyshakespeare.load_tinyshakespeare(put(tmp_path, bytes(content)))


@pytest.mark.parametrize(
    "content", [b"", b"To be, or not to be", bytes(range(256)) * 9], ids=["empty", "other", "binary"]
)
def test_another_text_under_the_name_is_refused_and_left_out_of_the_catalog(tmp_path, content):
    put(tmp_path, content)
    with pytest.raises(DataMissing, match=r"damaged or another text.*data fetch tinyshakespeare --replace"):
        facts_of(SHAKESPEARE, tmp_path)
    assert "tinyshakespeare" not in {facts.kind for facts in scan(tmp_path)}


# --- pydoc ---


def test_the_help_texts_are_those_of_this_python():
    topics = importlib.import_module("pydoc_data.topics").topics
    text = load(PYDOC, None)
    assert isinstance(text, TextArrays)
    tokens = np.concatenate([text.train, text.validation, text.test])
    expected = "\n\n".join(topics[name] for name in sorted(topics))
    assert len(tokens) == len(expected)
    alphabet = pydoc.VOCABULARY + "\0"
    read = "".join(alphabet[token] for token in tokens.tolist())
    assert read == "".join(c if c in pydoc.VOCABULARY else "\0" for c in expected)
    assert text.num_classes == 97
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in text.source


def test_every_character_outside_the_vocabulary_is_the_one_other_token():
    assert pydoc._tokens("a\n~\t“é\U0001f600\x7f").tolist() == [66, 0, 95, 96, 96, 96, 96, 96]


def test_a_python_without_help_texts_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataMissing, match=r"came without pydoc_data\.topics; the Pythons of"):
        pydoc.load_pydoc(None)


def test_a_trainer_refuses_a_text_that_is_not_the_catalog_s():
    model = SimpleNamespace(context=4)
    workload = SimpleNamespace(dataset=PYDOC, model=model)
    member = SimpleNamespace(trial=SimpleNamespace(dataset_sha256="0" * 64))
    with pytest.raises(ValueError, match=r"data set pydoc: its bytes on this machine .*are not those of the catalog"):
        _arrays(SimpleNamespace(workload=workload, members=(member,)), None)  # type: ignore[arg-type]
