"""Nets for images in the training loop, on made-up images: packs, resuming, augmentation, label noise, subsets."""

import pickle

import numpy as np
import pytest
import torch

from schemas.optimizers import SGD
from schemas.probes import SecantSmoothness, Sharpness
from schemas.records import names
from schemas.trials import ProbePoints, Seed
from schemas.workloads import CIFAR10, MLP, Budget, LabelNoise, ResNet, ViT
from workers.science.datasets import DataArrays, on_device, subset_index, to_device
from workers.science.evaluation import Evaluator
from workers.science.problem import build_problem
from workers.science.trainer import PackTrainer

NUM_TRAIN, SIDE = 96, 8
MEAN, STD = (0.4, 0.5), (0.2, 0.25)
MODELS = {
    "resnet": ResNet(kind="resnet", depth=4, stages=1, width=4, groups=2),
    "vit": ViT(kind="vit", patch=4, depth=1, width=8, heads=2),
}
NOISE = {
    "per_step": LabelNoise(kind="uniform", level=0.3, resample="per_step"),
    "once": LabelNoise(kind="uniform", level=0.3),
}
PROBES = (
    SecantSmoothness(kind="secant_smoothness", every_steps=4),
    Sharpness(kind="sharpness", every_steps=8, max_hvps=6),
)
POINTS = {
    "secant_smoothness": ProbePoints(steps=(0, 4, 8)),
    "sharpness": ProbePoints(steps=(0, 8), hvps_allowed=12),
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    """Two channels of noise, of class 1 with rows in it, of class 2 with columns: 96 to train on, 30, 20."""
    random = np.random.default_rng(0)

    def part(n):
        labels = random.integers(0, 3, n)
        pixels = random.integers(0, 180, (n, 2, SIDE, SIDE))
        pixels[labels == 1, :, ::2] += 75
        pixels[labels == 2, :, :, ::2] += 75
        return pixels.astype(np.uint8), labels

    parts = [array for n in (NUM_TRAIN, 30, 20) for array in part(n)]
    return DataArrays(*parts, num_classes=3, sha256="images", pixels=(MEAN, STD))


def workload(make, steps=12, kind="resnet", **fields):
    model = fields.pop("model", None) or MODELS[kind]
    batch_size = fields.pop("batch_size", 16)
    return make.classification(steps, model=model, dataset=CIFAR10(kind="cifar10", **fields), batch_size=batch_size)


def trials(make, work, count=2, peak_lr=0.02):
    return [make.trial(work, SGD(kind="sgd", momentum=0.9), peak_lr, seed=make.seed(i)) for i in range(count)]


def batches(make, images, work, first=0, last=3, count=2):
    problem = build_problem(work, trials(make, work, count), images, CPU)
    return [batch.tensors for batch in problem.batches.steps(first, last)]


def same(ours, theirs):
    return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("kind", MODELS)
def test_packed_and_solo_agree_to_1e_5_over_200_stable_steps(make, images, kind):
    work = workload(make, 200, kind, augmentation="flip_crop", label_noise=NOISE["per_step"], batch_size=8)
    packed_trials = trials(make, work, 3, 0.002)
    packed = make.run(make.pack(*packed_trials, size=4, chunk=50), images).tables["steps"]
    solo = make.run(make.pack(packed_trials[1], chunk=50), images).tables["steps"]
    losses = make.of_trial(packed, packed_trials[1].trial_id, "train_loss")
    np.testing.assert_allclose(losses, solo["train_loss"], rtol=1e-5)
    assert losses[-20:].mean() < losses[:20].mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_probes_do_not_change_a_bit(make, images, kind):
    work = workload(make, 12, kind, augmentation="flip_crop", label_noise=NOISE["per_step"])
    with_probes = make.run(make.pack(*trials(make, work), probes=PROBES, points=POINTS), images)
    without = make.run(make.pack(*trials(make, work)), images)
    for table in ("steps", "evaluations"):
        ours, theirs = with_probes.tables[table], without.tables[table]
        assert all(same(ours[name], theirs[name]) for name in names(table)[1:])
    sharpness = with_probes.tables["probes"]["value"][with_probes.tables["probes"]["probe"] == "sharpness"]
    assert (sharpness > 0).all()


@pytest.mark.parametrize("resample", NOISE)
def test_resumed_equals_uninterrupted_with_augmentation_and_noise(make, images, resample):
    work = workload(make, 12, "vit", augmentation="flip_crop", label_noise=NOISE[resample])
    task = make.pack(*trials(make, work), chunk=5)
    whole = make.run(task, images)
    first = PackTrainer(task, images)
    chunks = [first.run_chunk(7)]
    second = PackTrainer(task, images)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    while not second.done:
        chunks.append(second.run_chunk())
    joined = make.joined(chunks)
    for table in ("steps", "evaluations"):
        assert all(same(joined[table][name], whole.tables[table][name]) for name in names(table)[1:])
    assert repr(second.results()) == repr(whole.results)


@pytest.mark.parametrize("batch_size", [16, "full"])
@pytest.mark.parametrize("fields", [{"augmentation": "none"}, {"label_noise": LabelNoise(kind="uniform", level=0.0)}])
def test_what_changes_nothing_has_the_bits_of_a_plain_run(make, images, fields, batch_size):
    plain, other = (batches(make, images, workload(make, batch_size=batch_size, **each)) for each in ({}, fields))
    assert all(torch.equal(*pair) for two in zip(plain, other, strict=True) for pair in zip(*two, strict=True))


def test_pixels_are_normalised_by_the_stated_constants(images):
    data = to_device(images, torch.float64, CPU)
    expected = (images.train_x / 255 - np.reshape(MEAN, (2, 1, 1))) / np.reshape(STD, (2, 1, 1))
    np.testing.assert_allclose(data.train.inputs, expected, rtol=1e-12)


def test_packs_of_one_process_share_one_copy_of_a_set(images):
    one, again = (on_device(images, torch.float32, CPU) for _ in range(2))
    assert one is again
    assert on_device(images, torch.float64, CPU) is not one
    assert len(on_device(images, torch.float32, CPU, 10).train) == 10


def test_a_smaller_subset_is_a_part_of_each_larger_one_and_the_only_thing_trained_on(make, images):
    assert torch.equal(subset_index(NUM_TRAIN, 60)[:20], subset_index(NUM_TRAIN, 20))
    data = to_device(images, torch.float32, CPU, 20)
    seen = torch.cat([inputs for inputs, _ in batches(make, images, workload(make, subset=20), last=20, count=1)])
    distinct = {image.numpy().tobytes() for image in seen.flatten(0, 1)}
    assert distinct == {image.numpy().tobytes() for image in data.train.inputs}
    assert len(data.train_evaluation) == 20
    assert len(data.validation) == 30
    assert data.sha256 == "images/20"


def test_an_epoch_is_of_the_subset(make, images):
    work = workload(make, subset=40, batch_size=10).model_copy(update={"budget": Budget(epochs=2)})
    assert PackTrainer(make.pack(*trials(make, work)), images).total_steps == 8


# --- augmentation ---


def marked(make, images, kind, steps=40, **fields):
    """Augmented batches of images that all show their own coordinates, and the drawn (down, right, flip) of each."""
    show = np.zeros_like(images.train_x)
    show[:, 0], show[:, 1] = np.arange(SIDE)[:, None] + 1, np.arange(SIDE)[None, :] + 1
    data = DataArrays(
        show, images.train_y, show, images.train_y, show, images.train_y, 3, "marked", pixels=((0.0, 0.0), (1.0, 1.0))
    )
    read = batches(make, data, workload(make, augmentation=kind, **fields), last=steps)
    return torch.stack([inputs for inputs, _ in read]).mul(255).round().int()


def test_a_flip_mirrors_half_of_the_images_left_to_right(make, images):
    shown = marked(make, images, "flip")
    columns = shown[:, :, :, 1, 0]
    upright, mirrored = torch.arange(1, SIDE + 1), torch.arange(SIDE, 0, -1)
    is_flipped = (columns == mirrored).all(-1)
    assert (is_flipped | (columns == upright).all(-1)).all()
    assert (shown[:, :, :, 0] == torch.arange(1, SIDE + 1)[:, None]).all()
    assert is_flipped.float().mean().item() == pytest.approx(0.5, abs=0.06)  # 1,280 draws: four standard errors


def test_a_crop_moves_by_up_to_its_margin_each_way_alike_and_fills_with_the_mean(make, images):
    shown = marked(make, images, "crop").flatten(0, 2)  # the margin of 8 pixels is 1
    middle = shown[:, :, SIDE // 2, SIDE // 2]
    down, right = (middle[:, axis] - (SIDE // 2 + 1) for axis in (0, 1))
    for moved in (down, right):
        share = torch.bincount(moved + 1, minlength=3) / len(moved)
        assert share.tolist() == pytest.approx([1 / 3] * 3, abs=0.06)
    outside = shown[down == 1][:, :, -1]
    assert not outside.any()
    inside = shown[(down == 0) & (right == 0)]
    assert (inside[:, 0] == torch.arange(1, SIDE + 1)[:, None]).all()


def test_augmentation_is_drawn_by_trial_and_step_and_by_nothing_else(make, images):
    work = workload(make, augmentation="flip_crop")
    together = batches(make, images, work, 0, 4)
    later = batches(make, images, work, 2, 4)
    assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in zip(together[2:], later, strict=True))
    shown = marked(make, images, "flip_crop", steps=2)
    assert not torch.equal(shown[0, 0], shown[1, 0])
    assert not torch.equal(shown[0, 0], shown[0, 1])
    alone = marked(make, images, "flip_crop", steps=2)
    assert torch.equal(shown, alone)


def test_a_full_batch_is_augmented_for_each_trial(make, images):
    shown = marked(make, images, "flip", steps=1, batch_size="full")
    assert shown.shape[1:3] == (2, NUM_TRAIN)
    assert not torch.equal(shown[0, 0], shown[0, 1])


# --- label noise ---


def noisy_labels(make, images, noise, batch_size="full", steps=1, count=2):
    work = workload(make, label_noise=noise, batch_size=batch_size)
    return torch.stack([labels for _, labels in batches(make, images, work, 0, steps, count)])


@pytest.mark.parametrize("resample", NOISE)
def test_the_stated_share_of_labels_is_drawn_from_all_classes(make, images, resample):
    noise = LabelNoise(kind="uniform", level=0.6, resample=resample)
    wrong = noisy_labels(make, images, noise, count=60) != torch.tensor(images.train_y)
    assert wrong.float().mean().item() == pytest.approx(0.6 * 2 / 3, abs=0.03)  # 5,760 draws: four standard errors


def test_noise_once_stays_and_noise_per_step_is_drawn_anew(make, images):
    once = noisy_labels(make, images, NOISE["once"], steps=3)
    assert torch.equal(once[0], once[2])
    assert not torch.equal(once[0, 0], once[0, 1])
    fresh = noisy_labels(make, images, NOISE["per_step"], steps=3)
    assert not torch.equal(fresh[0], fresh[1])
    assert torch.equal(fresh, noisy_labels(make, images, NOISE["per_step"], steps=3))


def test_noise_once_of_a_label_is_the_same_in_every_batch_that_shows_it(make, images):
    work = workload(make, label_noise=NOISE["once"])
    clean = {
        image.numpy().tobytes(): int(i) for i, image in enumerate(to_device(images, torch.float32, CPU).train.inputs)
    }
    by_image: dict[int, set[int]] = {}
    for inputs, labels in batches(make, images, work, 0, 20, count=1):
        for image, label in zip(inputs[0], labels[0], strict=True):
            by_image.setdefault(clean[image.numpy().tobytes()], set()).add(int(label))
    assert len(by_image) == NUM_TRAIN
    assert all(len(found) == 1 for found in by_image.values())
    full = noisy_labels(make, images, NOISE["once"])[0, 0]
    assert {i: int(full[i]) for i in range(NUM_TRAIN)} == {i: found.pop() for i, found in by_image.items()}


@pytest.mark.parametrize("resample", NOISE)
def test_noise_follows_the_noise_seed_alone(make, images, resample):
    work = workload(make, label_noise=NOISE[resample])
    seeds = [Seed(initialization=i, data_order=0, noise=noise) for i, noise in ((0, 5), (1, 5), (2, 6))]
    specs = [make.trial(work, seed=seed) for seed in seeds]
    problem = build_problem(work, specs, images, CPU)
    _, labels = next(iter(problem.batches.steps(0, 1))).tensors
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_evaluation_and_probes_see_clean_examples(make, images):
    noisy = workload(make, augmentation="flip_crop", label_noise=NOISE["once"])
    problems = [build_problem(work, trials(make, work), images, CPU) for work in (workload(make), noisy)]
    plain, other = (problem.evaluator.read(problem.start_NP) for problem in problems)
    assert torch.equal(plain, other)
    probed = [problem.probe_batches(PROBES[0]) for problem in problems]
    assert probed[0].batch_id == probed[1].batch_id
    assert all(torch.equal(*pair) for pair in zip(*(probe.batches[0].tensors for probe in probed), strict=True))
    assert problems[0].reference_loss == problems[1].reference_loss


def test_an_evaluation_in_pieces_is_that_of_the_whole(make, images):
    work = workload(make)
    problem = build_problem(work, trials(make, work), images, CPU)
    whole = problem.evaluator
    pieces = Evaluator(whole._function, problem.data, 2, 7)
    torch.testing.assert_close(pieces.read(problem.start_NP), whole.read(problem.start_NP), rtol=1e-6, atol=0)
    torch.testing.assert_close(pieces.read_test(problem.start_NP), whole.read_test(problem.start_NP), rtol=1e-6, atol=0)


def test_a_perceptron_reads_images_too(make, images):
    work = workload(make, model=MLP(kind="mlp", widths=(8,)), augmentation="flip")
    done = make.run(make.pack(*trials(make, work)), images)
    assert np.isfinite(done.results[0].final["test_loss"])


@pytest.mark.parametrize("kind", MODELS)
def test_every_recipe_trains_resumes_and_is_measured(make, images, kind):
    model = MODELS[kind].model_copy(update={"dropout": 0.2})
    work = workload(make, 4, model=model, augmentation="flip_crop", label_noise=NOISE["per_step"], batch_size=4)
    work = work.model_copy(update={"precision": "bfloat16_autocast", "accumulation": 2})
    points = {name: ProbePoints(steps=(0,), hvps_allowed=6) for name in POINTS}
    task = make.pack(make.trial(work, peak_lr=0.02), probes=PROBES, points=points)
    first, second = (PackTrainer(task, images) for _ in range(2))
    chunks = [first.run_chunk(2)]
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    chunks.append(second.run_chunk(2))
    rest = first.run_chunk(2).tables["steps"]["train_loss"]
    tables = make.joined(chunks)
    assert same(tables["steps"]["train_loss"][2:], rest)
    assert np.isfinite(tables["probes"]["value"]).all()
    without = PackTrainer(make.pack(make.trial(work.model_copy(update={"model": MODELS[kind]}), peak_lr=0.02)), images)
    assert without.run_chunk(1).tables["steps"]["train_loss"][0] != tables["steps"]["train_loss"][0]
