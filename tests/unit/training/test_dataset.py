"""The data set: the same seed gives the same texts, splits share nothing, buckets, labels and languages are even."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from sluice.training import corpus
from sluice.training.dataset import SPLITS, generate, generate_train
from sluice.training.grammar import Message
from sluice.training.partition import lies_in, sentences_of
from sluice.training.phrasebook import load
from sluice.training.requests_file import draw_requests

SEED = 20260101
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Message]]:
    return {name: generate(name, 1600, book=load(), seed=SEED) for name in SPLITS}


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


def test_the_same_seed_gives_the_same_texts_and_another_seed_gives_others() -> None:
    first, again, other = (generate("test_seen", 80, book=load(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert not set(texts(first)) & set(texts(other))


def test_another_shard_gives_other_texts_of_the_same_split() -> None:
    one, other = (texts(generate("train", 400, book=load(), seed=1, shard=shard)) for shard in (0, 1))
    assert len(set(one) & set(other)) < 20


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    assert generate("validation", 80, book=load(), seed=3)[:40] == generate("validation", 40, book=load(), seed=3)


def test_the_number_of_processes_changes_nothing() -> None:
    made: list[int] = []
    messages = generate_train(48, seed=4, workers=2, tick=made.append)
    assert messages == generate("train", 48, book=load(), seed=4)
    assert sum(made) == 48


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(KeyError):
        generate("exam", 1, book=load(), seed=1)


def test_the_demos_requests_are_drawn_from_the_seed_that_made_them() -> None:
    tests = corpus.draw_tests(load(), SEED)
    requests = draw_requests(tests.seen, tests.held_out, seed=SEED)
    shipped = (ROOT / "examples" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in shipped] == requests


def test_no_sentence_of_a_test_message_occurs_in_training(splits: dict[str, list[Message]]) -> None:
    sentences = {
        name: {sentence.strip().casefold() for text in texts(messages) for sentence in sentences_of(text)}
        for name, messages in splits.items()
    }
    for name in ("validation", "test_seen", "test_held_out"):
        assert len(sentences[name]) > 1500
        assert not sentences["train"] & sentences[name]
    assert not sentences["validation"] & (sentences["test_seen"] | sentences["test_held_out"])


@pytest.mark.parametrize("name", SPLITS)
def test_every_sentence_lies_in_its_splits_partition(splits: dict[str, list[Message]], name: str) -> None:
    assert all(lies_in(text, SPLITS[name].partition) for text in texts(splits[name]))


@pytest.mark.parametrize("name", SPLITS)
def test_buckets_labels_and_languages_are_even(splits: dict[str, list[Message]], name: str) -> None:
    messages = splits[name]
    buckets = Counter(message.complexity for message in messages)
    assert set(buckets) == set(range(8))
    # Outside of training a text that comes twice is dropped, which simple ones do more often.
    assert max(buckets.values()) - min(buckets.values()) <= (0 if name == "train" else 0.1 * len(messages) / 8)
    labels = Counter(message.label for message in messages)
    assert len(labels) == len(load().labels) >= 12
    assert min(labels.values()) > 0.5 * len(messages) / len(labels)
    languages = Counter(message.language for message in messages)
    assert set(languages) == {"en", "zh"}
    assert min(languages.values()) > 0.45 * len(messages)


@pytest.mark.parametrize("name", ["validation", "test_seen", "test_held_out"])
def test_what_measures_quality_holds_no_text_twice(splits: dict[str, list[Message]], name: str) -> None:
    assert max(Counter(texts(splits[name])).values()) == 1


def test_a_smoke_run_keeps_whole_rounds_of_buckets() -> None:
    tests = corpus.draw_tests(load(), 5, scale=0.001)
    assert (len(tests.seen), len(tests.held_out), len(tests.all)) == (64, 64, 128)
    assert corpus.train_size(0.0101) % 8 == 0
    assert len(corpus.validation(load(), 5, scale=0.001)) == 64
