"""What kind of question a text is, by its complexity, when the caller does not say."""

from __future__ import annotations

from sluice.domain.enums import QueryClass

# Between two and three of the seven constructs that the demo's messages are made of.
COMPLEX_FROM = 2.5 / 7
# What is assumed of a text whose class the caller names, so that it need not be read.
ASSUMED = {QueryClass.SIMPLE: 1.0 / 7, QueryClass.COMPLEX: 5.0 / 7, QueryClass.REAL_TIME: 1.5 / 7}


def infer_query_class(complexity: float) -> QueryClass:
    """COMPLEX or SIMPLE. Nobody can tell from a text that somebody is waiting, so REAL_TIME is never guessed."""
    return QueryClass.COMPLEX if complexity >= COMPLEX_FROM else QueryClass.SIMPLE
