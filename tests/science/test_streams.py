"""Random streams and the order of the data: functions of seeds and names alone."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.science.batches import DataOrder, StackedBatches
from workers.science.datasets import Examples, train_evaluation_index
from workers.science.streams import generator


def draw(*names):
    return torch.randn(4, generator=generator(*names)).tolist()


def test_a_stream_is_a_function_of_its_seed_and_names():
    assert draw(3, "data_order", 1) == draw(3, "data_order", 1)


def test_streams_of_other_seeds_names_and_kinds_of_names_differ():
    streams = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", "0"), (0, "a0"), (0, "a", 1)]
    assert len({tuple(draw(*names)) for names in streams}) == len(streams)


def test_a_stream_is_known_and_may_not_move():
    # the golden value of every initialization and data order
    assert torch.randint(1000, (5,), generator=generator(0, "golden", 1)).tolist() == [238, 869, 236, 188, 173]


def test_every_epoch_is_a_permutation_and_no_two_agree():
    positions = DataOrder(0, 50).positions(0, 150).view(3, 50)
    assert torch.equal(positions.sort(dim=1).values, torch.arange(50).expand(3, 50))
    assert len({tuple(epoch.tolist()) for epoch in positions}) == 3


@given(cuts=st.lists(st.integers(1, 199), max_size=5), replacement=st.booleans())
def test_the_order_does_not_depend_on_how_it_is_cut(cuts, replacement):
    whole = DataOrder(5, 37, replacement=replacement).positions(0, 200)
    order = DataOrder(5, 37, replacement=replacement)
    ends = [0, *sorted(set(cuts)), 200]
    parts = [order.positions(first, last) for first, last in itertools.pairwise(ends)]
    assert torch.equal(torch.cat(parts), whole)


def test_an_order_can_be_entered_anywhere():
    assert torch.equal(DataOrder(5, 37).positions(100, 140), DataOrder(5, 37).positions(0, 140)[100:])


def test_sampling_with_replacement_repeats_examples():
    assert len(set(DataOrder(0, 100, replacement=True).positions(0, 100).tolist())) < 100


def test_batches_run_over_the_ends_of_epochs_and_hold_what_the_order_says():
    train = Examples(torch.arange(14.0).view(7, 2), torch.arange(7))
    batches = list(StackedBatches(train, [4, 9, 4], batch_size=3).steps(1, 5))
    for slot, data_order_seed in enumerate((4, 9, 4)):
        expected = DataOrder(data_order_seed, 7).positions(3, 15).view(4, 3)
        for batch, index_B in zip(batches, expected, strict=True):
            assert torch.equal(batch.tensors[1][slot], index_B)
            assert torch.equal(batch.tensors[0][slot], train.inputs[index_B])


@pytest.mark.parametrize(("num_train", "expected"), [(50, 50), (5000, 1024)])
def test_the_evaluation_part_of_the_training_set_is_fixed_and_without_repeats(num_train, expected):
    index = train_evaluation_index(num_train)
    assert len(set(index.tolist())) == expected
    assert torch.equal(index, train_evaluation_index(num_train))
