"""What kind of question a text is, guessed from its surface when the caller does not say.

Cheap on purpose: it runs on the router's loop for every request without a class.
"""

from __future__ import annotations

import re

from sluice.tier import QueryClass

_SENTENCE_END = re.compile(r"[.!?;。！？；]+(?:\s|$)|[。！？；]")
_TURN = re.compile(
    r"\b(?:not|no longer|never|instead|but|however|rather|unless|except|although|without|if|wait|actually|first)\b"
    r"|n't\b|不|没|别|但|可是|而是|如果|除了|虽然|先",
    re.IGNORECASE,
)
LONG_CHARACTERS = 140


def infer_query_class(text: str) -> QueryClass:
    """COMPLEX for several sentences, turns of thought (negation, condition, contrast) or length; else SIMPLE.

    Nobody can tell from a text that somebody is waiting, so REAL_TIME is never guessed.
    """
    if len(text) > LONG_CHARACTERS:
        return QueryClass.COMPLEX
    sentences = len(_SENTENCE_END.findall(text))
    turns = len(_TURN.findall(text))
    return QueryClass.COMPLEX if sentences + turns > 2 else QueryClass.SIMPLE
