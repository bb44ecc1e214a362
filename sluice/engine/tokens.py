"""From texts to token ids: which items of a batch can be computed, and their padded input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluice.engine.checkpoint import Checkpoint
from sluice.errors import InvalidRequest
from sluice.worker.backend import Item, Output

_UNBOUNDED = 1 << 62


@dataclass(frozen=True, slots=True)
class Tokens:
    """The items that can be computed: their places in the batch, and input by name, each (items, longest) integers."""

    places: list[int]
    inputs: dict[str, Any]


def tokenize(
    checkpoint: Checkpoint, items: Sequence[Item], *, outputs: list[Output | None], framework: str
) -> Tokens | None:
    """Tokenize a batch and pad it to its longest item; `framework` is "pt" or "np".

    An item without any token, with one that the model does not embed, or that is too long and may not be cut, gets its
    InvalidRequest in `outputs`. None when no item is left.
    """
    tokenizer, limit = checkpoint.tokenizer, checkpoint.max_tokens
    encoded = tokenizer([item.text for item in items], truncation=False, padding=False, verbose=False)
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
            cut = tokenizer(items[place].text, truncation=True, max_length=limit, padding=False)
            for name, values in cut.items():
                encoded[name][place] = values
        else:
            outputs[place] = InvalidRequest(
                f"the text has {len(ids)} tokens, and the model takes {limit}; set truncate to cut it", field="text"
            )
    if not places:
        return None
    kept = {name: [values[place] for place in places] for name, values in encoded.items()}
    # On the right, whatever the tokenizer prefers for writing: a text then has the same positions in every batch.
    padded = tokenizer.pad(kept, padding=True, padding_side="right", return_tensors=framework)
    return Tokens(places, dict(padded))
