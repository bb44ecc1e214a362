"""Encoded texts and the batches made of them: token ids, padded to the longest of their batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from random import Random
from typing import Any

import torch
from torch import Tensor

from sluice.training.grammar import Message

UNLABELLED = -1
"""Stands for the label of a text that has none."""
_SORTED_BATCHES = 64
"""How many batches' worth of texts are sorted by length at a time, so that little of a batch is padding."""
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids` and `mask` are int64 of shape texts x longest; `labels` holds a place in the labels for each text."""

    ids: Tensor
    mask: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Texts as token ids, one after the other without padding."""

    tokens: Tensor
    """The ids of all texts in a row, as small integers; the only part that lives on the device."""
    starts: Tensor
    lengths: Tensor
    labels: Tensor
    pad_id: int

    def __len__(self) -> int:
        return int(self.lengths.shape[0])

    def on(self, device: torch.device) -> Encoded:
        """The same with its tokens on `device`, so that no batch has to be carried there."""
        return replace(self, tokens=self.tokens.to(device))

    def batch(self, rows: Tensor) -> Batch:
        """The texts of some rows, on the device of the tokens."""
        device, lengths = self.tokens.device, self.lengths[rows]
        # On an accelerator nothing is waited for: all sizes are known on the host.
        place, count, label = (
            one.to(device, non_blocking=True) for one in (self.starts[rows], lengths, self.labels[rows])
        )
        columns = torch.arange(int(lengths.max()), device=device)[None, :]
        mask = columns < count[:, None]
        index = (place[:, None] + columns).clamp(max=len(self.tokens) - 1)
        ids = torch.where(mask, self.tokens[index].long(), self.pad_id)
        return Batch(ids, mask.long(), label)


def encode(
    texts: Sequence[str],
    tokenizer: Any,
    labels: Sequence[int],
    *,
    max_tokens: int | None = None,
    tick: Callable[[int], None] | None = None,
) -> Encoded:
    """The texts encoded with `tokenizer` and cut at `max_tokens`; `labels` are places, or UNLABELLED.

    `tick` is told the number of texts done so far.
    """
    small = torch.int16 if len(tokenizer) <= torch.iinfo(torch.int16).max else torch.int32
    tokens, lengths = [], list[int]()
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        rows = tokenizer(chunk, truncation=True, max_length=max_tokens, return_attention_mask=False)["input_ids"]
        tokens.append(torch.tensor(list(chain.from_iterable(rows)), dtype=small))
        lengths += map(len, rows)
        if tick is not None:
            tick(start + len(chunk))
    counts = torch.tensor(lengths)
    return Encoded(
        tokens=torch.cat(tokens),
        starts=counts.cumsum(0) - counts,
        lengths=counts,
        labels=torch.tensor(labels),
        pad_id=tokenizer.pad_token_id,
    )


def encode_messages(messages: Sequence[Message], tokenizer: Any, labels: Sequence[str]) -> Encoded:
    """The demo's messages encoded; their labels become places in `labels`."""
    places = {label: place for place, label in enumerate(labels)}
    return encode([message.text for message in messages], tokenizer, [places[message.label] for message in messages])


def shuffled_rows(encoded: Encoded, batch_size: int, rng: Random) -> Iterator[Tensor]:
    """Yields row numbers of one batch after another, epoch after epoch without end."""
    lengths = encoded.lengths.tolist()
    while True:
        order = list(range(len(encoded)))
        rng.shuffle(order)
        batches: list[list[int]] = []
        stretch = batch_size * _SORTED_BATCHES
        for start in range(0, len(order), stretch):
            rows = sorted(order[start : start + stretch], key=lengths.__getitem__)
            batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            yield torch.tensor(batch)


def ordered_rows(encoded: Encoded, batch_size: int) -> Iterator[Tensor]:
    """Yields the row numbers of every text once, texts of like length together."""
    order = torch.argsort(encoded.lengths)
    for start in range(0, len(encoded), batch_size):
        yield order[start : start + batch_size]
