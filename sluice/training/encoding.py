"""Encoded messages and the batches made of them: token ids, padded to the longest of their batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from sluice.training.grammar import Message

_SORTED_BATCHES = 64
"""How many batches' worth of messages are sorted by length at a time, so that little of a batch is padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Messages as token ids, one row each, padded on the right."""

    ids: Tensor
    """int16 on the host, messages x longest."""
    lengths: Tensor
    labels: Tensor
    pad_id: int

    def __len__(self) -> int:
        return int(self.lengths.shape[0])

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Returns ids (int64, rows x longest), attention mask and labels of some rows, on the device."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        ids = self.ids[rows, :longest].to(device, non_blocking=True).long()
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        return ids, mask.to(device, non_blocking=True).long(), self.labels[rows].to(device, non_blocking=True)


def encode(messages: Sequence[Message], tokenizer: Any, labels: Sequence[str]) -> Encoded:
    """Returns the messages encoded with `tokenizer`; labels become their place in `labels`."""
    rows = tokenizer([message.text for message in messages], truncation=True)["input_ids"]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), tokenizer.pad_token_id, dtype=torch.int16)
    ids[torch.arange(ids.shape[1])[None, :] < lengths[:, None]] = torch.tensor(
        [token for row in rows for token in row], dtype=torch.int16
    )
    places = {label: place for place, label in enumerate(labels)}
    targets = torch.tensor([places[message.label] for message in messages])
    return Encoded(ids=ids, lengths=lengths, labels=targets, pad_id=tokenizer.pad_token_id)


def shuffled_rows(encoded: Encoded, batch_size: int, rng: Random) -> Iterator[Tensor]:
    """Yields row numbers of one batch after another, epoch after epoch without end."""
    while True:
        order = list(range(len(encoded)))
        rng.shuffle(order)
        lengths = encoded.lengths.tolist()
        batches: list[list[int]] = []
        stretch = batch_size * _SORTED_BATCHES
        for start in range(0, len(order), stretch):
            rows = sorted(order[start : start + stretch], key=lengths.__getitem__)
            batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            yield torch.tensor(batch)


def ordered_rows(encoded: Encoded, batch_size: int) -> Iterator[Tensor]:
    """Yields the row numbers of every message once, messages of like length together."""
    order = torch.argsort(encoded.lengths)
    for start in range(0, len(encoded), batch_size):
        yield order[start : start + batch_size]
