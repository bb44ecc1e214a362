"""Texts of as many tokens as are asked for, in the words that our random checkpoints' tokenizer knows."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache
from itertools import islice, product

VOCABULARY = 30_517
"""Words of the language: BERT's vocabulary of 30,522 pieces, less the five that mark something."""
ENDS = 2
"""Tokens that the tokenizer adds to a text: one before, one behind."""
SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]


@cache
def words() -> tuple[str, ...]:
    """All words, three syllables each."""
    return tuple("".join(parts) for parts in islice(product(SYLLABLES, repeat=3), VOCABULARY))


def texts_of(lengths: Iterable[int], dice: random.Random) -> list[str]:
    """A text for each of `lengths`, which count tokens with both ends; the shortest has three."""
    return [" ".join(dice.choices(words(), k=max(1, length - ENDS))) for length in lengths]
