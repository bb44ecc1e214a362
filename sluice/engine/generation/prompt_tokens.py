"""From a prompt to a model's tokens: as the customer's turn of a conversation, if the checkpoint was taught those."""

from __future__ import annotations

from typing import Any

from sluice.errors import InvalidRequest


def prompt_tokens(tokenizer: Any, text: str) -> list[int]:
    """The tokens to write on from.

    A text cannot speak in the model's own special tokens: where it spells one, that is left out. Raises InvalidRequest,
    field `prompt`, when nothing remains.
    """
    text = _plain(tokenizer, text)
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)
        ids = list(rendered["input_ids"])
    else:
        ids = list(tokenizer(text, truncation=False, verbose=False)["input_ids"])
    if not ids:
        raise InvalidRequest("the prompt has no tokens", field="prompt")
    return ids


def _plain(tokenizer: Any, text: str) -> str:
    specials = [token for token in tokenizer.all_special_tokens if token]
    while any(token in text for token in specials):
        # Again, as what was around one may make another.
        for token in specials:
            text = text.replace(token, "")
    return text
