"""Conversations: mails in three kinds with their replies, seeded, in four splits whose mails share no sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from random import Random

from sluice.training.chat import replybook, storybook, vocabulary
from sluice.training.chat.mail import Mail
from sluice.training.dataset import SPLITS, Split, Tick
from sluice.training.grammar import Message, compose
from sluice.training.phrasebook import LANGUAGES
from sluice.training.plan import MAX_COMPLEXITY, draw
from sluice.training.sentence import NoSentence

SHARD_SIZE = 8000
_STORY_SHARE, _SMALL_TALK_SHARE = 0.5, 0.04
_COMPLEXITY_WEIGHTS = (6, 5, 4, 3, 2, 2, 1, 1)
"""People who talk to a shop mostly say it simply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A customer's mail and the agent's answer."""

    mail: Mail
    reply: str


def converse(split: str, count: int, *, seed: int, shard: int = 0) -> list[Conversation]:
    """Returns `count` conversations of a split, no mail twice outside of `train`.

    The same arguments give the same on every machine; another shard gives others of the same split. Raises KeyError
    for an unknown split.
    """
    source = SPLITS[split]
    rng = Random(f"{seed}/chat/{source.name}/{shard}")  # noqa: S311 - reproducible texts, not secrets
    replies = replybook.load()
    seen: set[str] = set()
    conversations: list[Conversation] = []
    for mail in _mails(rng, source):
        if split != "train" and mail.text in seen:
            continue
        seen.add(mail.text)
        conversations.append(Conversation(mail=mail, reply=replies.reply(rng, mail)))
        if len(conversations) == count:
            break
    return conversations


def converse_in_shards(count: int, *, seed: int, workers: int, tick: Tick) -> list[Conversation]:
    """Returns `count` training conversations, made in shards by `workers` processes; their number changes nothing."""
    sizes = [min(SHARD_SIZE, count - start) for start in range(0, count, SHARD_SIZE)]
    conversations: list[Conversation] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for shard in pool.map(partial(_converse_shard, seed), sizes, range(len(sizes))):
            conversations += shard
            tick(len(shard))
    return conversations


def _converse_shard(seed: int, count: int, shard: int) -> list[Conversation]:
    return converse("train", count, seed=seed, shard=shard)


def _mails(rng: Random, source: Split) -> Iterator[Mail]:
    """Endless mails: stories, small talk and messages of the grammar."""
    while True:
        kind = rng.random()
        try:
            yield _DRAWERS[(kind >= _STORY_SHARE) + (kind >= _STORY_SHARE + _SMALL_TALK_SHARE)](rng, source)
        except NoSentence:
            continue


def _story(rng: Random, source: Split) -> Mail:
    language = rng.choice(LANGUAGES)
    return storybook.load().story(rng, language=language, novelty=source.novelty, partition=source.partition)


def _small_talk(rng: Random, source: Split) -> Mail:
    language = rng.choice(LANGUAGES)
    return storybook.load().small_talk(rng, language=language, novelty=source.novelty, partition=source.partition)


def _message(rng: Random, source: Split) -> Mail:
    """A message that puts its label into words once, so that it is clear which details belong to it."""
    while True:
        message = _compose(rng, source)
        if message.details is not None:
            return Mail.of(message)


def _compose(rng: Random, source: Split) -> Message:
    complexity = rng.choices(range(MAX_COMPLEXITY + 1), _COMPLEXITY_WEIGHTS)[0]
    return compose(
        rng,
        vocabulary.load(),
        draw(rng, complexity),
        language=rng.choice(LANGUAGES),
        novelty=source.novelty,
        partition=source.partition,
    )


_DRAWERS: tuple[Callable[[Random, Split], Mail], ...] = (_story, _small_talk, _message)
