"""The data set: seeded, balanced over complexity, in four splits that share no sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from random import Random

from sluice.training.grammar import Message, compose
from sluice.training.phrasebook import HELD_OUT, LANGUAGES, SEEN, Novelty, Phrasebook, load
from sluice.training.plan import MAX_COMPLEXITY, draw
from sluice.training.sentence import NoSentence

Tick = Callable[[int], None]
"""Called with the number of messages made since the last call."""

SHARD_SIZE = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What a split is drawn from."""

    name: str
    partition: str
    novelty: Novelty


SPLITS = {
    "train": Split(name="train", partition="train", novelty=SEEN),
    "validation": Split(name="validation", partition="validation", novelty=SEEN),
    "test_seen": Split(name="test_seen", partition="test", novelty=SEEN),
    "test_held_out": Split(name="test_held_out", partition="test", novelty=HELD_OUT),
}
"""`test_seen` has new sentences of known phrasings; `test_held_out` has phrasings and slot values never trained on."""


def generate(split: str, count: int, *, book: Phrasebook, seed: int, shard: int = 0) -> list[Message]:
    """Returns `count` messages of a split, complexities 0 to 7 in turn, no text twice outside of `train`.

    The same arguments give the same messages on every machine; another shard gives other messages of the same split.
    Raises KeyError for an unknown split.
    """
    source = SPLITS[split]
    rng = Random(f"{seed}/{source.name}/{shard}")  # noqa: S311 - reproducible texts, not secrets
    unique = split != "train"
    seen: set[str] = set()
    messages: list[Message] = []
    for message in _stream(rng, book, source):
        if unique and message.text in seen:
            continue
        seen.add(message.text)
        messages.append(message)
        if len(messages) == count:
            break
    return messages


def generate_train(count: int, *, seed: int, workers: int, tick: Tick) -> list[Message]:
    """Returns `count` training messages, made in shards by `workers` processes; their number changes nothing."""
    sizes = [min(SHARD_SIZE, count - start) for start in range(0, count, SHARD_SIZE)]
    messages: list[Message] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for shard in pool.map(partial(_generate_shard, seed), sizes, range(len(sizes))):
            messages += shard
            tick(len(shard))
    return messages


def _generate_shard(seed: int, count: int, shard: int) -> list[Message]:
    return generate("train", count, book=load(), seed=seed, shard=shard)


def _stream(rng: Random, book: Phrasebook, source: Split) -> Iterator[Message]:
    """Endless messages; the complexity moves on only when a message came out, so buckets stay even."""
    made = 0
    while True:
        complexity = made % (MAX_COMPLEXITY + 1)
        try:
            message = compose(
                rng,
                book,
                draw(rng, complexity),
                language=rng.choice(LANGUAGES),
                novelty=source.novelty,
                partition=source.partition,
            )
        except NoSentence:
            continue
        made += 1
        yield message
