"""From a prompt to a model's tokens: as the customer's turn of a conversation, if the checkpoint was taught those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from sluice.domain.errors import InvalidRequest

ANY_TEXT = "a"


class PromptTokenizer:
    """Reads prompts by transformers' `tokenizer`. Raises ValueError when its chat template takes no customer's turn.

    A text cannot speak in the tokens that act on the model, be they special or only what the template marks turns by:
    where it spells one, that is left out. `usual` are the tokens of a text that says nothing in particular.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        acting = _acting_tokens(tokenizer)
        self._spelled = sorted({name for name in acting.values() if name}, key=len, reverse=True)
        # What no token stands for becomes this one in any text.
        self._acting = acting.keys() - {tokenizer.unk_token_id}
        try:
            self.usual = tuple(self._tokens(ANY_TEXT))
            self._usual = self._count_acting(self.usual)
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def read(self, text: str) -> list[int]:
        """The tokens to write on from. Raises InvalidRequest, field `prompt`, when nothing of `text` remains."""
        text = _without(text, self._spelled)
        tokens = self._tokens(text) if text else []
        if not tokens:
            raise InvalidRequest("the prompt has no tokens", field="prompt")
        if self._count_acting(tokens) != self._usual:
            # A tokenizer that rewrites a text before it looks for its tokens can find one that nobody spelled.
            raise InvalidRequest("the prompt contains tokens that only the model itself may use", field="prompt")
        return tokens

    def _tokens(self, text: str) -> list[int]:
        if self._tokenizer.chat_template:
            turn = [{"role": "user", "content": text}]
            read = self._tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)
        else:
            read = self._tokenizer(text, truncation=False, verbose=False)
        return list(read["input_ids"])

    def _count_acting(self, tokens: Sequence[int]) -> Counter[int]:
        return Counter(token for token in tokens if token in self._acting)


def _acting_tokens(tokenizer: Any) -> dict[int, str]:
    """Numbers and spelling of all that is special, and of what was added to the vocabulary for the chat template."""
    template = str(tokenizer.chat_template or "")
    added = tokenizer.added_tokens_decoder.items()
    acting = {
        number: token.content
        for number, token in added
        # Some add runs of blanks to the vocabulary, for source code.
        if token.special or (token.content.strip() and token.content in template)
    }
    return acting | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def _without(text: str, spelled: Collection[str]) -> str:
    """`text` without any of `spelled`, the longest first, nor any that what was around one makes. In one pass."""
    if not any(token in text for token in spelled):
        return text
    ends = {token[-1] for token in spelled}
    longest = max(map(len, spelled))
    kept: list[str] = []
    for character in text:
        kept.append(character)
        if character in ends:
            tail = "".join(kept[-longest:])
            token = next((token for token in spelled if tail.endswith(token)), "")
            del kept[len(kept) - len(token) :]
    return "".join(kept)
