"""The data set: seeded, balanced over complexity, in four splits that share no sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from sluice.training.grammar import Message, compose
from sluice.training.phrasebook import HELD_OUT, LANGUAGES, SEEN, Novelty, Phrasebook
from sluice.training.plan import MAX_COMPLEXITY, draw
from sluice.training.sentence import NoSentence

Tick = Callable[[int], None]
"""Called with the number of texts made since the last call."""


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
"""`test_seen` has unseen sentences of known phrasings; `test_held_out` has phrasings and slot values never trained on."""


def generate(split: str, count: int, *, book: Phrasebook, seed: int, tick: Tick | None = None) -> list[Message]:
    """Returns `count` messages of a split, complexities 0 to 7 in turn, no text twice outside of `train`.

    The same arguments give the same messages on every machine. Raises KeyError for an unknown split.
    """
    source = SPLITS[split]
    rng = Random(f"{seed}/{source.name}")  # noqa: S311 - reproducible texts, not secrets
    unique = split != "train"
    seen: set[str] = set()
    messages: list[Message] = []
    for message in _stream(rng, book, source, count):
        if unique and message.text in seen:
            continue
        seen.add(message.text)
        messages.append(message)
        if tick is not None:
            tick(1)
        if len(messages) == count:
            break
    return messages


def _stream(rng: Random, book: Phrasebook, source: Split, count: int) -> Iterator[Message]:
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
