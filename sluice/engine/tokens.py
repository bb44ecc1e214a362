"""From texts to token ids: which items of a batch can be computed, and their padded input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sluice.engine.checkpoint import Checkpoint
from sluice.errors import InvalidRequest
from sluice.worker.backend import Item, Output

MASK = "attention_mask"
_UNBOUNDED = 1 << 62


@dataclass(frozen=True, slots=True)
class Tokens:
    """The items that can be computed: their places in the batch, and integers by name, a list for each item."""

    tokenizer: Any
    places: list[int]
    encoded: dict[str, list[list[int]]]

    @property
    def lengths(self) -> list[int]:
        """How many tokens each item has, in the order of `places`."""
        return [len(ids) for ids in self.encoded["input_ids"]]

    def padded(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The input of some items, counted in `places`: by name, int64, (items, longest); MASK is among them."""
        chosen = {name: [values[row] for row in rows] for name, values in self.encoded.items()}
        # On the right, whatever the tokenizer prefers for writing: a text then has the same positions in every batch.
        options = {"padding_side": "right", "return_attention_mask": True, "return_tensors": "pt"}
        return dict(self.tokenizer.pad(chosen, padding=True, **options))


def tokenize(checkpoint: Checkpoint, items: Sequence[Item], *, outputs: list[Output | None]) -> Tokens:
    """Tokenize a batch.

    An item without any token, with one that the model does not embed, or that is too long and may not be cut, gets its
    InvalidRequest in `outputs`, and has no place in what is returned.
    """
    tokenizer, limit = checkpoint.tokenizer, checkpoint.max_tokens
    texts = [item.text for item in items]
    if checkpoint.modules is not None and checkpoint.modules.lower_case:
        texts = [text.lower() for text in texts]
    encoded = tokenizer(texts, truncation=False, padding=False, verbose=False)
    # Tokenizers may know more than their model embeds; on an accelerator such a token would end the process.
    embedded = getattr(checkpoint.config, "vocab_size", None) or _UNBOUNDED
    places = []
    for place, ids in enumerate(encoded["input_ids"]):
        if not ids:
            outputs[place] = InvalidRequest("the text holds nothing that the model can read", field="text")
        elif max(ids) >= embedded:
            outputs[place] = InvalidRequest("the text holds a token that the model was not made for", field="text")
        elif len(ids) <= limit:
            places.append(place)
        elif items[place].truncate:
            places.append(place)
            cut = tokenizer(texts[place], truncation=True, max_length=limit, padding=False)
            for name, values in cut.items():
                encoded[name][place] = values
        else:
            outputs[place] = InvalidRequest(
                f"the text has {len(ids)} tokens, and the model takes {limit}; set truncate to cut it", field="text"
            )
    kept = {name: [values[place] for place in places] for name, values in encoded.items()}
    return Tokens(tokenizer, places, kept)
