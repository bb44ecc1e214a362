"""From texts to token ids: which items of a batch can be computed, and their padded input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.worker.execution.backend import Item

IDS = "input_ids"
MASK = "attention_mask"
_UNBOUNDED = 1 << 62


@dataclass(frozen=True, slots=True)
class Encoded(Item):
    """An item whose text was read: integers by name, a list each, or why it cannot be computed."""

    tokens: Mapping[str, list[int]] = field(default_factory=dict)
    refusal: InvalidRequest | None = None

    @property
    def length(self) -> int:
        """How many tokens there are."""
        return len(self.tokens[IDS])


def encode(checkpoint: Checkpoint, items: Sequence[Item]) -> list[Encoded]:
    """Each item with its tokens.

    One without any token, with one that the model does not embed, or that is too long and may not be cut, has its
    refusal instead.
    """
    texts = [item.text for item in items]
    if checkpoint.modules is not None and checkpoint.modules.lower_case:
        texts = [text.lower() for text in texts]
    columns = checkpoint.tokenizer(texts, truncation=False, padding=False, verbose=False)
    names = tuple(columns)
    rows = zip(*columns.values(), strict=True)
    return [
        _encoded(checkpoint, item, text, dict(zip(names, row, strict=True)))
        for item, text, row in zip(items, texts, rows, strict=True)
    ]


def padded(checkpoint: Checkpoint, items: Sequence[Encoded], *, length: int) -> dict[str, Tensor]:
    """The input of items that can be computed: by name, int64, (items, length); MASK is among them.

    No item may have more tokens than `length`.
    """
    columns = {name: [item.tokens[name] for item in items] for name in items[0].tokens}
    # On the right, whatever the tokenizer prefers for writing: a text then has the same positions in every batch.
    options = {"padding_side": "right", "return_attention_mask": True, "return_tensors": "pt"}
    return dict(checkpoint.tokenizer.pad(columns, padding="max_length", max_length=length, **options))


def _encoded(checkpoint: Checkpoint, item: Item, text: str, tokens: dict[str, list[int]]) -> Encoded:
    length, limit = len(tokens[IDS]), checkpoint.max_tokens
    if length > limit:
        if not item.truncate:
            problem = f"the text has {length} tokens, and the model takes {limit}; set truncate to cut it"
            return _refused(item, problem)
        tokens = dict(checkpoint.tokenizer(text, truncation=True, max_length=limit, padding=False))
    if not tokens[IDS]:
        return _refused(item, "the text holds nothing that the model can read")
    # Tokenizers may know more than their model embeds; on an accelerator such a token would end the process.
    if max(tokens[IDS]) >= (getattr(checkpoint.config, "vocab_size", None) or _UNBOUNDED):
        return _refused(item, "the text holds a token that the model was not made for")
    return Encoded(item.text, item.top_k, item.truncate, tokens)


def _refused(item: Item, problem: str) -> Encoded:
    return Encoded(item.text, item.top_k, item.truncate, refusal=InvalidRequest(problem, field="text"))
