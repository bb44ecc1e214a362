"""Measured quality of a chat model: how well it expects replies, and how many of its own are right.

A reply of the model is right if it ends by itself, is in the mail's language, is about the mail's intent, and names no
detail that the mail does not have. `reading` says how that is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sluice.training.chat.chat_format import ASSISTANT, END, prompt, transcript
from sluice.training.chat.conversation import Conversation
from sluice.training.chat.mail import Mail
from sluice.training.chat.reading import Reading, reader
from sluice.training.chat.reply_loss import ReplyTokens
from sluice.training.encoding import UNLABELLED, encode, ordered_rows
from sluice.training.plan import MAX_COMPLEXITY

MAX_NEW_TOKENS = 160
"""The longest reply of the replybook has about 130."""
_WRITTEN_AT_ONCE = 1200
_READ_AT_ONCE = 256

Write = Callable[[Sequence[str]], list[tuple[str, bool]]]
"""Returns the reply to each mail, and whether it ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A mail, what was answered, and how that reads."""

    mail: Mail
    reply: str
    ended: bool
    reading: Reading

    @property
    def is_right(self) -> bool:
        """Whether the reply counts as right."""
        return self.ended and self.reading.is_right


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatQuality:
    """Shares of greedy replies, each from 0 to 1, or NaN where there is nothing to share."""

    examples: int
    right: float
    ended: float
    in_its_language: float
    on_its_intent: float
    details_right: float
    """Of the replies that name any."""
    orders_right: float
    """Of the replies that name an order number."""
    replies_with_order: int
    by_complexity: tuple[float, ...]
    examples_by_complexity: tuple[int, ...]
    by_language: dict[str, float]


def tokens_of(tokenizer: Any) -> ReplyTokens:
    """Returns where replies lie in what the tokenizer makes of a conversation."""
    ids = (tokenizer.convert_tokens_to_ids(token) for token in (ASSISTANT, END))
    return ReplyTokens(assistant_id=next(ids), end_id=next(ids))


@torch.no_grad()
def perplexity(model: Any, tokenizer: Any, conversations: Sequence[Conversation], device: torch.device) -> float:
    """Returns the perplexity per token of the given replies, their ends included."""
    data = encode([transcript(one) for one in conversations], tokenizer, [UNLABELLED] * len(conversations)).on(device)
    tokens, total, count = tokens_of(tokenizer), 0.0, 0
    training = model.training
    model.to(device).eval()
    for rows in ordered_rows(data, _READ_AT_ONCE):
        batch = data.batch(rows)
        logits = model(input_ids=batch.ids, use_cache=False).logits
        losses, number = tokens.losses(logits, batch.ids)
        total, count = total + losses.sum().item(), count + int(number)
    model.train(training)
    return math.exp(total / count)


def greedy_writer(model: Any, tokenizer: Any, device: torch.device, *, max_new_tokens: int) -> Write:
    """Returns what writes the likeliest token each time, until the reply's end or for `max_new_tokens`."""
    model.to(device).eval()

    def write(mails: Sequence[str]) -> list[tuple[str, bool]]:
        batch = tokenizer([prompt(mail) for mail in mails], padding=True, padding_side="left", return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**batch.to(device), max_new_tokens=max_new_tokens, do_sample=False)
        written = ids[:, batch["input_ids"].shape[1] :].cpu()
        ended = (written == tokenizer.eos_token_id).any(1).tolist()
        return list(zip(tokenizer.batch_decode(written, skip_special_tokens=True), ended, strict=True))

    return write


def judge(write: Write, mails: Sequence[Mail]) -> list[Judged]:
    """Returns each mail with the reply that `write` gives and how it reads, in the order of the mails."""
    answers: dict[int, tuple[str, bool]] = {}
    for rows in _batches(mails):
        answers.update(zip(rows, write([mails[row].text for row in rows]), strict=True))
    return [
        Judged(mail=mail, reply=reply, ended=ended, reading=reader().read(reply, mail))
        for mail, (reply, ended) in zip(mails, (answers[row] for row in range(len(mails))), strict=True)
    ]


def quality_of(judged: Sequence[Judged]) -> ChatQuality:
    """Returns the shares of what was judged."""
    readings = [one.reading for one in judged]
    buckets = [[one.is_right for one in judged if one.mail.complexity == at] for at in range(MAX_COMPLEXITY + 1)]
    languages = sorted({one.mail.language for one in judged})
    orders = [reading.order_right for reading in readings if reading.order_named]
    return ChatQuality(
        examples=len(judged),
        right=_share([one.is_right for one in judged]),
        ended=_share([one.ended for one in judged]),
        in_its_language=_share([reading.in_its_language for reading in readings]),
        on_its_intent=_share([reading.on_its_intent for reading in readings]),
        details_right=_share([reading.details_right for reading in readings if reading.details_named]),
        orders_right=_share(orders),
        replies_with_order=len(orders),
        by_complexity=tuple(_share(bucket) for bucket in buckets),
        examples_by_complexity=tuple(len(bucket) for bucket in buckets),
        by_language={name: _share([one.is_right for one in judged if one.mail.language == name]) for name in languages},
    )


def _batches(mails: Sequence[Mail]) -> Iterator[list[int]]:
    """The places of mails of like length together."""
    order = sorted(range(len(mails)), key=lambda row: len(mails[row].text.encode()))
    for start in range(0, len(order), _WRITTEN_AT_ONCE):
        yield order[start : start + _WRITTEN_AT_ONCE]


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 4) if flags else float("nan")
