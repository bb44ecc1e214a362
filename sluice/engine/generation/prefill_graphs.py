"""Steps of prompts, padded to one of few sizes and replayed as graphs.

Launching a prompts' step kernel by kernel takes a CPU longer than computing it takes a large accelerator, and all the
while nobody else gets a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.generation.continuous_batching.cache_allocators import FULL_ATTENTION

MOST_TEXTS = 64
"""In one graph. More are short ones, for each of which launching costs little."""
# Fewer take as long: the weights have to be read.
_LEAST_TOKENS = 128
# Half of it is filled up in vain in the mean.
_MOST_APART = 512
# Blocks of threads that have nothing to do, because no prompt is as long as might be, begin to count from here on.
_USUAL_LONGEST, _MANY_TOKENS = 512, 2048
# Every vocabulary has as many.
_TOKENS = 100

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs a step, captures it, and returns what replays it."""

logger = logging.getLogger(__name__)


class GraphBucket(NamedTuple):
    """What a graph has room for: `tokens` of all prompts, and of the `longest`.

    Of prompts of which a part is remembered all is `read` out of the cache, that and the tokens. Of whole prompts
    nothing is.
    """

    tokens: int
    longest: int
    read: int

    def has_room(self, *, tokens: int, longest: int, read: int) -> bool:
        """Whether prompts of so much fit, whole ones only where nothing is read."""
        return self.tokens >= tokens and self.longest >= longest and (self.read >= read if read else not self.read)


class PrefillCudaGraphs:
    """What is captured reads its inputs, and leaves its outputs, where all sizes have theirs: one runs at a time.

    Tokens that only fill a size up are written to `waste`, a slot of the cache that is nobody's, and read out of
    `blank_slot`, where nobody writes.
    """

    def __init__(
        self, *, most_tokens: int, waste: int, blank_slot: int, device: torch.device, capture: Capture
    ) -> None:
        self.sizes = sizes_up_to(most_tokens)
        self._capture = capture
        self._waste, self._blank_slot = waste, blank_slot
        self._ids, self._places = torch.zeros(2, most_tokens, dtype=torch.int32, device=device)
        self._slots = torch.full((most_tokens,), waste, dtype=torch.int64, device=device)
        self._read = torch.full((self.sizes[-1].read,), blank_slot, dtype=torch.int64, device=device)
        self._ends, self._key_ends = torch.zeros(2, MOST_TEXTS + 1, dtype=torch.int32, device=device)
        self._hidden: Tensor | None = None
        self._captured: dict[GraphBucket, tuple[Callable[[], None], Any]] = {}

    def size_for(self, batch: Mapping[str, Any]) -> GraphBucket | None:
        """The smallest size with room for a batch of prompts as transformers has it, None if there is none."""
        if len(batch["cu_seq_lens_q"]) > MOST_TEXTS + 1:
            return None
        (read,), tokens, longest = batch["read_index"], batch["input_ids"].shape[1], batch["max_length_q"]
        return next(
            (size for size in self.sizes if size.has_room(tokens=tokens, longest=longest, read=len(read))), None
        )

    def blank(self, size: GraphBucket) -> dict[str, Any]:
        """A batch of some tokens that fills `size`, of texts as long as it allows, which leave nothing behind."""
        numbers = partial(torch.arange, dtype=torch.int32, device=self._ids.device)
        places, ends = numbers(size.tokens), numbers(0, size.tokens + size.longest, size.longest)
        texts = len(ends) - 1
        ends.clamp_(max=size.tokens)
        ids, slots = places % _TOKENS, torch.full_like(places, self._waste, dtype=torch.int64)
        read, key_ends = torch.full_like(self._read[: size.read], self._blank_slot), ends
        if size.read:
            key_ends = ends + numbers(texts + 1) * ((size.read - size.tokens) // texts)
        laid = self._laid(size, ids, places % size.longest, slots, ends, read, key_ends)
        return {"attention_mask": None, **laid}

    def put(self, batch: Mapping[str, Any], size: GraphBucket) -> dict[str, Any]:
        """Put `batch` where graphs read it, filled up to `size`, and return it as it lies there."""
        (slots,), (read,), (key_ends,) = batch["write_index"], batch["read_index"], batch["cu_seq_lens_k"].values()
        rows = MOST_TEXTS + 1
        ids = _filled_up(self._ids, batch["input_ids"][0], size.tokens, rest=0)
        places = _filled_up(self._places, batch["position_ids"][0], size.tokens, rest=0)
        # What fills up is of no text.
        ends = _filled_up(self._ends, batch["cu_seq_lens_q"], rows, rest=len(slots))
        key_ends = _filled_up(self._key_ends, key_ends, rows, rest=len(read) or len(slots))
        slots = _filled_up(self._slots, slots, size.tokens, rest=self._waste)
        read = _filled_up(self._read, read, size.read, rest=self._blank_slot)
        return {**batch, **self._laid(size, ids, places, slots, ends, read, key_ends)}

    def run(self, size: GraphBucket, step: Callable[[], Any]) -> Any:
        """Replay `step`, which is captured when its size comes first. Returns its output, valid until the next run."""
        if size not in self._captured:
            self._captured[size] = self._capture_into_place(size, step)
        replay, out = self._captured[size]
        replay()
        return out

    def give_up(self, *sizes: GraphBucket, why: str) -> None:
        """Use no graphs of these sizes: their prompts are filled up to a larger one, or launched kernel by kernel."""
        logger.warning("prompts are not captured", extra={"sizes": len(sizes), "why": why})
        self.sizes = tuple(size for size in self.sizes if size not in sizes)
        for size in sizes:
            self._captured.pop(size, None)

    @staticmethod
    def _laid(
        size: GraphBucket, ids: Tensor, places: Tensor, slots: Tensor, ends: Tensor, read: Tensor, key_ends: Tensor
    ) -> dict[str, Any]:
        """A batch of prompts as transformers has it."""
        return {
            "input_ids": ids.unsqueeze(0),
            "position_ids": places.unsqueeze(0),
            "write_index": [slots],
            "read_index": [read],
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": {FULL_ATTENTION: key_ends},
            "max_length_q": size.longest,
            "max_length_k": {FULL_ATTENTION: size.read or size.longest},
        }

    def _capture_into_place(self, size: GraphBucket, step: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        outs: list[Any] = []

        def into_place() -> None:
            out = step()
            hidden: Tensor = out.last_hidden_state
            if self._hidden is None:
                self._hidden = hidden.new_empty(1, len(self._slots), hidden.shape[-1])
            place = self._hidden[:, : size.tokens]
            place.copy_(hidden)
            outs.append(type(out)(last_hidden_state=place))

        replay = self._capture(into_place)
        return replay, outs[0]


def sizes_up_to(most_tokens: int) -> tuple[GraphBucket, ...]:
    """All sizes of a step of at most so many tokens, of which as many again may be remembered; the smallest first."""
    return tuple(
        GraphBucket(tokens, longest, read)
        for tokens in (*_token_sizes(most_tokens), most_tokens)
        for longest in ((_USUAL_LONGEST, tokens) if tokens >= _MANY_TOKENS else (tokens,))
        for read in (0, tokens + most_tokens)
    )


def _filled_up(held: Tensor, new: Tensor, size: int, *, rest: int) -> Tensor:
    """The first `size` of `held`, with `new` and after it the `rest`."""
    held[: len(new)].copy_(new)
    held[len(new) : size].fill_(rest)
    return held[:size]


def _token_sizes(most_tokens: int) -> Iterator[int]:
    tokens = _LEAST_TOKENS
    while tokens < most_tokens:
        yield tokens
        tokens += min(tokens, _MOST_APART)
