"""Texts to learn from or to be measured on, with what their file says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sluice.runtime.jsonl import read_rows, text_of

BUCKETS = 8
"""Equally wide parts of the complexities from 0 to 1, simplest first."""
_HELD_OUT_SHARE = 0.1
_MOST_HELD_OUT = 1000


@dataclass(frozen=True, slots=True)
class Text:
    """`label` is a place among the teacher's labels, `bucket` the complexity's; each None where it is not said."""

    text: str
    label: int | None = None
    bucket: int | None = None


def read_texts(file: Path, *, field: str, labels: Sequence[str] = (), labelled: bool = False) -> list[Text]:
    """The texts in `file`: one a line, or JSON objects, one a line; blank lines are passed over.

    The first line decides which. An object has a `text`, and may have a `label`, which is not read unless there are
    `labels`, and must be there if they are `labelled`. Its `complexity` is a share from 0 to 1 if written with a point,
    and a bucket from 0 to 7 if it is a whole number. Raises InvalidRequest for `field`, naming file and line.
    """
    places = {label: place for place, label in enumerate(labels)}

    def row(values: Mapping[str, Any], _: int) -> Text:
        return _text(values, places, labelled=labelled)

    return read_rows(file, row, field=field, plain=None if labelled else Text)


def hold_out(texts: Sequence[Text], *, seed: int) -> tuple[list[Text], list[Text]]:
    """A tenth of the texts, at most 1,000, to measure on, and the rest to learn from; no text is in both."""
    unique = list({one.text: one for one in texts}.values())
    count = min(_MOST_HELD_OUT, max(1, round(len(unique) * _HELD_OUT_SHARE)))
    held_out = Random(seed).sample(unique, count)  # noqa: S311 - a sample, no secret
    return held_out, without(texts, held_out)


def without(texts: Sequence[Text], measured: Sequence[Text]) -> list[Text]:
    """Those of the texts that will not be measured on."""
    known = {one.text for one in measured}
    return [one for one in texts if one.text not in known]


def _text(values: Mapping[str, Any], places: Mapping[str, int], *, labelled: bool) -> Text:
    text, bucket = text_of(values, "text"), _bucket(values.get("complexity"))
    if not text.strip():
        raise ValueError("'text' is blank")
    if not places or (values.get("label") is None and not labelled):
        return Text(text, bucket=bucket)
    label = text_of(values, "label")
    if label not in places:
        raise ValueError(f"the label '{label}' is none of the teacher's {len(places)}")
    return Text(text, places[label], bucket)


def _bucket(complexity: Any) -> int | None:
    if complexity is None:
        return None
    if isinstance(complexity, int) and not isinstance(complexity, bool) and 0 <= complexity < BUCKETS:
        return complexity
    if isinstance(complexity, float) and 0 <= complexity <= 1:
        return min(BUCKETS - 1, int(complexity * BUCKETS))
    raise ValueError(f"complexity {complexity!r} is neither a share from 0.0 to 1.0 nor a whole number from 0 to 7")
