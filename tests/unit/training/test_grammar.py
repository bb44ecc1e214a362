"""The label is the wish left standing: by hand for small plans, and by a reader of the text for all others."""

from __future__ import annotations

from random import Random

import pytest

from sluice.training.grammar import Message, compose
from sluice.training.phrasebook import SEEN, load
from sluice.training.plan import Plan, draw
from sluice.training.sentence import NoSentence
from tests.unit.training.toybook import fruits, read, toybook

SEEDS = range(8)


def message(core: str, *updates: str, extras: tuple[str, ...] = (), seed: int = 0) -> Message:
    plan = Plan(core=core, updates=updates, extras=extras)
    rng = Random(f"{core} {updates} {extras} {seed}")
    return compose(rng, toybook(), plan, language="en", novelty=SEEN, partition="train")


def wishes(text: str) -> list[str]:
    """The fruit of each wish, in order, where every sentence names at most one."""
    return fruits(text.lower())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("updates", "standing"),
    [
        ((), 0),
        (("correction",), 1),
        (("correction", "correction"), 2),
        (("correction", "revert"), 0),
        (("correction", "correction", "revert"), 1),
        (("correction", "revert", "redo"), 1),
        (("correction", "correction", "restore"), 0),
        (("correction", "correction", "revert", "correction"), 3),
        (("correction", "correction", "restore", "correction", "revert"), 0),
    ],
)
def test_changes_of_mind_are_a_stack(updates: tuple[str, ...], standing: int, seed: int) -> None:
    made = message("plain", *updates, seed=seed)
    assert made.label == wishes(made.text)[standing]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("core", "place"), [("contrast", 0), ("double_negation", 0), ("offer", 1)])
def test_what_is_ruled_out_in_the_request_is_not_the_label(core: str, place: int, seed: int) -> None:
    made = message(core, seed=seed)
    named = wishes(made.text)
    assert made.label == named[place]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mention", ["negation", "resolved", "reported", "deferred"])
def test_a_mention_names_an_intent_that_is_not_the_label(mention: str, seed: int) -> None:
    made = message("plain", extras=(mention,), seed=seed)
    named = set(wishes(made.text))
    assert len(named) == 2
    assert made.label in named
    assert f"want {made.label}" in made.text.lower()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_condition_is_decided_by_the_circumstance(seed: int) -> None:
    made = message("condition", seed=seed)
    holds, otherwise = wishes(made.text)
    assert made.label == (holds if "it rains, " in made.text.lower() else otherwise)


@pytest.mark.parametrize("complexity", range(8))
def test_a_reader_of_the_text_comes_to_the_same_label(complexity: int) -> None:
    rng = Random(complexity)
    read_messages = 0
    while read_messages < 60:
        plan = draw(rng, complexity)
        if "typos" in plan.extras:
            # The reader knows words by their letters.
            continue
        made = compose(rng, toybook(), plan, language="en", novelty=SEEN, partition="train")
        assert (made.label, made.complexity) == (read(made.text), complexity), made.text
        read_messages += 1


def test_a_message_keeps_the_name_of_every_construct() -> None:
    made = message("options", "repick", extras=("typos", "venting"))
    assert made.constructs == ("options", "ordinal", "repick", "typos", "venting")
    assert made.complexity == 5


def test_where_no_wording_falls_into_the_partition_there_is_no_sentence() -> None:
    plan = Plan(core="plain", updates=(), extras=())
    with pytest.raises(NoSentence, match="plain"):
        compose(Random(0), toybook(), plan, language="en", novelty=SEEN, partition="nowhere")


def test_switched_code_puts_both_scripts_into_one_message() -> None:
    plan = Plan(core="plain", updates=("correction",), extras=("code_switch",))
    for seed in SEEDS:
        text = compose(Random(seed), load(), plan, language="zh", novelty=SEEN, partition="train").text
        assert any("\u4e00" <= char <= "\u9fff" for char in text)
        assert any(word.isascii() and word.isalpha() and len(word) > 3 for word in text.split())
