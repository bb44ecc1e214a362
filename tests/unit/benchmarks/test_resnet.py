"""The network that learns in fp32 and mixed: it learns, begins anew as if nothing had been, and is asked fairly."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.resnet.digits import FULL, RATE, _folds, _lessons
from benchmarks.resnet.learner import Learner, Way, make_model, ways

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]
BENCH = Bench(torch.device("cpu"), smoke=True, graphs=False)
IMAGES = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6)


def learner(way: Way) -> Learner:
    return Learner(BENCH, make_model(BENCH, channels=1, labels=6, seed=3), way, images=IMAGES, labels=LABELS)


def learned(one: Learner, steps: int) -> dict[str, torch.Tensor]:
    one.rate.fill_(1e-2)
    for _ in range(steps):
        one.step()
    return {name: tensor.clone() for name, tensor in one.model.state_dict().items()}


@pytest.mark.parametrize("name", ["fp32", "fp32_channels_last", "tf32", "mixed"])
def test_every_way_learns_six_images_by_heart(name: str) -> None:
    one = learner(ways(BENCH)[name])
    learned(one, 60)
    assert torch.equal(one.predict(IMAGES), LABELS)
    assert one.model.training
    assert {parameter.dtype for parameter in one.model.parameters()} == {torch.float32}


def test_a_restarted_learner_comes_to_the_same_weights_in_the_same_tensors() -> None:
    one = learner(Way("bf16", channels_last=True))
    places = [parameter.data_ptr() for parameter in one.model.parameters()]
    beginning = make_model(BENCH, channels=1, labels=6, seed=3).state_dict()
    first = learned(one, 4)
    one.restart(beginning)
    second = learned(one, 4)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert places == [parameter.data_ptr() for parameter in one.model.parameters()]


def test_mixed_multiplies_in_less_and_is_what_training_takes() -> None:
    assert {name: way.precision for name, way in ways(BENCH).items()} == {
        "fp32": "fp32",
        "fp32_channels_last": "fp32",
        "tf32": "fp32",
        "mixed": "bf16",
    }
    assert ways(BENCH)["tf32"].products == "tf32"
    assert ways(BENCH)["fp32"].products == "ieee"


def test_every_image_is_asked_once_and_none_is_learned_from_that_is_asked() -> None:
    for repetition in range(2):
        folds = _folds(FULL, repetition)
        assert len(folds) == FULL.folds
        assert sorted(torch.cat(folds).tolist()) == list(range(FULL.images))
    assert not torch.equal(_folds(FULL, 0)[0], _folds(FULL, 1)[0])


def test_lessons_are_whole_batches_of_the_given_rows_in_another_order_each_epoch() -> None:
    rows = torch.arange(100, 100 + 5 * FULL.batch + 7)
    lessons = list(_lessons(rows, FULL, seed=1))
    assert len(lessons) == 5 * FULL.epochs
    assert all(len(batch) == FULL.batch and set(batch.tolist()) <= set(rows.tolist()) for _, batch in lessons)
    assert len({number for _, batch in lessons[:5] for number in batch.tolist()}) == 5 * FULL.batch
    assert not torch.equal(lessons[0][1], lessons[5][1])
    rates = [rate for rate, _ in lessons]
    assert 0 < rates[0] < max(rates) <= RATE
    assert rates[-1] < RATE / 100
    assert all(torch.equal(one[1], other[1]) for one, other in zip(lessons, _lessons(rows, FULL, seed=1), strict=True))
