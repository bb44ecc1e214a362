"""Sampling inside the step, each text by its own temperature, top-k, top-p and seed.

A token is drawn by the Gumbel-max trick: the largest of score / temperature + noise is distributed as a draw from the
softmax. The noise of a place in a text is a hash of the text's seed, that place and the token, so a text is drawn alike
whatever is batched with it, and a graph of the device can be replayed with other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList
from transformers.generation.continuous_batching.requests import FutureRequestState
from transformers.generation.logits_process import LogitsProcessorList

from sluice.worker.execution.generator import GenerationRequest

SAMPLING = "sampling"
NO_TOKEN = -1
"""Stands for the token of a text for which the model computed no number."""
# Bounds what sampling takes of memory: a dozen numbers for each row and token.
_ROWS_AT_ONCE = 256
_MASK_32 = 0xFFFF_FFFF
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
# The largest number of 32 bits with a sign. No vocabulary has as many tokens, so more of them are all.
_MOST_TOP_K = 0x7FFF_FFFF
# Beyond these a draw in fp32 differs in nothing from the most probable token, and from an even draw, respectively.
_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 1e-6, 1e6


class SamplingMode(IntEnum):
    """How much a batch needs, the least first: each is a graph of its own."""

    GREEDY = 0
    TEMPERATURE = 1
    TRUNCATED = 2


class SamplerState:
    """How one text is sampled, and which place of it comes next.

    Whatever numbers a prompt has, those here are what tensors hold: a `top_k` of 31 bits, a `top_p` in [0, 1] and a
    finite `temperature`, where what is no number counts as 0.
    """

    __slots__ = ("place", "seed", "temperature", "top_k", "top_p")

    def __init__(self, prompt: GenerationRequest, *, seed: int) -> None:
        # Written so that what is no number is 0.
        heat = prompt.temperature
        self.temperature = min(heat, _MOST_TEMPERATURE) if heat >= _LEAST_TEMPERATURE else 0.0
        self.top_k = max(0, min(prompt.top_k, _MOST_TOP_K))
        self.top_p = min(1.0, prompt.top_p) if prompt.top_p > 0.0 else 0.0
        self.seed = seed if prompt.seed is None else prompt.seed
        self.place = 0

    @property
    def draw(self) -> SamplingMode:
        """What a batch with this text needs at least."""
        if self.temperature <= 0:
            return SamplingMode.GREEDY
        return SamplingMode.TRUNCATED if self.top_k or self.top_p < 1 else SamplingMode.TEMPERATURE

    def go_back_to(self, place: int) -> None:
        """A step has failed: `place` tokens are written, and the one behind them comes next."""
        self.place = place

    def next_key(self) -> int:
        """The seed of the noise at the next place, a signed number of 32 bits."""
        mixed = _splitmix64((self.seed * 0x9E37_79B9_7F4A_7C15 + self.place) & _MASK_64) & _MASK_32
        self.place += 1
        return _signed(mixed)


class Sampler(ContinuousBatchingLogitsProcessorList):
    """In the place of transformers' logits processors: one row of numbers for each thing that texts differ in.

    `draw` is what the batch that was prepared last needs.
    """

    def __init__(self) -> None:
        self.draw = SamplingMode.GREEDY
        super().__init__(LogitsProcessorList())
        self.tensors_required = 4

    @property
    def do_processing(self) -> bool:
        """Whether scores are changed before the largest is taken."""
        return self.draw is not SamplingMode.GREEDY

    @do_processing.setter
    def do_processing(self, value: bool) -> None:
        del value

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Texts come with a Sampling and nothing else."""

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        """Greedy."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_in_batch: Sequence[FutureRequestState], arg_storage: Tensor) -> Tensor:
        """Write the rows for the texts that get a token."""
        texts = [one.state.logit_processor_kwargs.get(SAMPLING) for one in requests_in_batch if one.has_new_token]
        sampled = [one for one in texts if one is not None]
        self.draw = max((one.draw for one in sampled), default=SamplingMode.GREEDY)
        if self.draw is SamplingMode.GREEDY:
            return arg_storage
        temperatures = torch.tensor([one.temperature if one else 0.0 for one in texts], dtype=torch.float32)
        top_ps = torch.tensor([one.top_p if one else 1.0 for one in texts], dtype=torch.float32)
        whole = torch.tensor(
            [
                [one.top_k if one else 0 for one in texts],
                [one.next_key() if one else 0 for one in texts],
            ],
            dtype=torch.int32,
        )
        rows = torch.cat((temperatures.view(torch.int32)[None], top_ps.view(torch.int32)[None], whole))
        arg_storage[:, : len(texts)] = rows.to(arg_storage.device)
        return arg_storage

    def __call__(self, input_ids: Tensor, scores: Tensor, logits_processor_args: Tensor) -> Tensor:
        """Scores, (texts, tokens), of which the largest of each row is that row's token."""
        del input_ids
        texts = scores.shape[0]
        temperature = logits_processor_args[0, :texts].view(torch.float32)[:, None]
        top_p = logits_processor_args[1, :texts].view(torch.float32)[:, None]
        top_k = logits_processor_args[2, :texts][:, None]
        key = logits_processor_args[3, :texts][:, None]
        for first in range(0, texts, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            # Nobody wants the scores as they were.
            scores[rows] = sampled_scores(
                scores[rows],
                temperature=temperature[rows],
                top_p=top_p[rows],
                top_k=top_k[rows],
                key=key[rows],
                truncated=self.draw is SamplingMode.TRUNCATED,
            )
        return scores


def sampled_scores(
    scores: Tensor, *, temperature: Tensor, top_p: Tensor, top_k: Tensor, key: Tensor, truncated: bool
) -> Tensor:
    """`scores`, (texts, tokens) in fp32, changed so that the largest of a row is a draw; rows of temperature 0 stay.

    All else is (texts, 1). `truncated` False: no row has a top-k or top-p.
    """
    is_sampled = temperature > 0
    # Less than the largest score by so much: however low the temperature, that one stays a number.
    heated = (scores - scores.amax(dim=-1, keepdim=True)) / torch.where(is_sampled, temperature, 1.0)
    if truncated:
        heated = heated.masked_fill(~_kept(heated, top_p=top_p, top_k=top_k), -torch.inf)
    return torch.where(is_sampled, heated + _gumbel(key, scores.shape[1]), scores)


def _kept(heated: Tensor, *, top_p: Tensor, top_k: Tensor) -> Tensor:
    """Which tokens may be drawn: the `top_k` most probable, and of those the fewest that reach `top_p` together."""
    ordered, order = heated.sort(dim=-1, descending=True)
    places = torch.arange(heated.shape[1], device=heated.device)[None]
    in_k = (top_k <= 0) | (places < top_k)
    probabilities = ordered.masked_fill(~in_k, -torch.inf).softmax(dim=-1)
    # A token stays while those before it have not reached top_p; the first one always does.
    before = probabilities.cumsum(dim=-1) - probabilities
    kept = in_k & ((before < top_p) | (places == 0))
    return torch.zeros_like(kept).scatter_(1, order, kept)


def _gumbel(key: Tensor, tokens: int) -> Tensor:
    """Noise for each text (by its `key`, (texts, 1)) and token, by murmur3's finalizer; 23 bits are uniform."""
    token = torch.arange(tokens, device=key.device, dtype=torch.int32)[None]
    # Products of signed numbers of 32 bits wrap around as unsigned ones do; what shifts bring in from above is cut off.
    mixed = key + token * _signed(0x9E37_79B1)
    mixed = (mixed ^ (mixed >> 16 & 0xFFFF)) * _signed(0x85EB_CA6B)
    mixed = (mixed ^ (mixed >> 13 & 0x7_FFFF)) * _signed(0xC2B2_AE35)
    mixed = mixed ^ (mixed >> 16 & 0xFFFF)
    # With one bit more the largest would be rounded to 1, whose noise is infinite, and there are 2^17 tokens to draw.
    uniform = ((mixed >> 9 & 0x7F_FFFF).float() + 0.5) / (1 << 23)
    return -torch.log(-torch.log(uniform))


def _signed(number: int) -> int:
    """The signed number of 32 bits with the bits of `number`."""
    return number - (1 << 32) if number >= 1 << 31 else number


def _splitmix64(state: int) -> int:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014)."""
    state = (state + 0x9E37_79B9_7F4A_7C15) & _MASK_64
    state = ((state ^ (state >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK_64
    state = ((state ^ (state >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK_64
    return state ^ (state >> 31)
