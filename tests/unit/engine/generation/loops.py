"""The writing loop over tiny models, turned by hand a step at a time, and what `generate` writes as the yardstick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.generation.continuous_batching.requests import RequestStatus

from sluice.engine.generation.continuous_batching import BatchingLoop
from sluice.engine.generation.kv_cache import KVCacheConfig
from sluice.engine.generation.sampler import NO_TOKEN, SamplerState
from sluice.engine.generation.sequence import Output
from sluice.worker.execution.generator import GenerationRequest
from tests.unit.engine import tiny

KINDS = tuple(tiny.DECODERS)
"""Grouped heads, many heads and latents."""
PAGE = 16
VOCABULARY = 200
LONGEST = 512
SETTINGS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "max_position_embeddings": LONGEST,
    "initializer_range": 0.15,
}
"""Of any model whose texts are compared."""
_STEPS = 2_000
_DECODING = RequestStatus.DECODING


def model_of(kind: str, *, seed: int = 0, **settings: Any) -> Any:
    """A random causal language model of one of KINDS, in fp32. Of the same seed, the same one."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(tiny.DECODERS[kind]({**SETTINGS, **settings})).eval()


def prompt(length: int, seed: int = 0) -> list[int]:
    """So many random tokens."""
    made = torch.Generator().manual_seed(1_000 * length + seed)
    return torch.randint(3, VOCABULARY, (length,), generator=made).tolist()


def generated(kind: str, prompt: Sequence[int], tokens: int) -> list[int]:
    """What transformers' `generate` writes on from `prompt`, greedily."""
    return list(_generated(kind, tuple(prompt), tokens))


@cache
def _model(kind: str) -> Any:
    return model_of(kind)


@cache
def _generated(kind: str, prompt: tuple[int, ...], tokens: int) -> list[int]:
    return written_by(_model(kind), prompt, tokens)


def written_by(model: Any, prompt: Sequence[int], tokens: int) -> list[int]:
    """What `generate` writes with a model."""
    ids = torch.tensor([list(prompt)])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, eos_token_id=None
    )
    written: list[int] = out[0, len(prompt) :].tolist()
    return written


@dataclass(frozen=True, slots=True)
class Heard:
    """What a text had come to when it was told of."""

    generated_tokens: tuple[int, ...]
    status: RequestStatus
    error: str | None

    @property
    def is_finished(self) -> bool:
        return self.status >= RequestStatus.FINISHED


class Unlawful(BaseException):
    """A batch was planned that breaks a law of the schedule."""


class Loop:
    """A loop that turns when it is told to. `heard` is what was last heard of each text."""

    def __init__(
        self,
        model: Any,
        *,
        texts: int = 8,
        pages: int = 64,
        batch_tokens: int = 64,
        page: int = PAGE,
        compiles: bool = False,
    ) -> None:
        shape = KVCacheConfig(
            texts=texts,
            text_tokens=min(LONGEST, page * pages),
            page=page,
            pages=pages,
            batch_tokens=batch_tokens,
        )
        self.heard: dict[str, Heard] = {}
        self.deliveries: list[str] = []
        self.batches: list[list[tuple[str, int]]] = []
        self.writer = BatchingLoop(model, shape, hear=self._hear, compiles=compiles)
        self.writer.warmup()
        self.writer.current_batch = 0
        self.processor = self.writer.batch_processor
        self.scheduler = self.processor.scheduler
        (self.allocator,) = self.processor.cache.cache_allocators.values()
        self.texts = texts
        self._were_prompts = False
        # Where steps are prepared one ahead, the first is launched and not waited for.
        self._has_begun = not self.processor.use_async_batching
        self._schedule = self.scheduler.schedule_batch
        self.scheduler.schedule_batch = self._scheduled
        self.processor.offloading_manager.offload_requests = _never

    def add(self, name: str, prompt: Sequence[int], tokens: int, *, ends: int = -1, **sampling: Any) -> None:
        """Begin a text; with `sampling`, fields of a Prompt, it is drawn."""
        drawn = SamplerState(GenerationRequest(text="", max_new_tokens=tokens, **sampling), seed=0)
        self.writer.begin(name, prompt, max_new_tokens=tokens, ends=[ends], sampling=drawn)

    def cancel(self, name: str) -> None:
        self.writer.cancel_request(name)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        writer = self.writer
        return not (writer.input_queue.qsize() or writer.cancel_queue.qsize() or self.scheduler.has_pending_requests())

    def step(self) -> None:
        """One turn."""
        go_on = self.writer._generation_loop_body(self.processor, bootstrapping=not self._has_begun)
        assert go_on or not self._has_begun
        self._has_begun = self._has_begun or not go_on

    def run(self, *until_written: str) -> None:
        """Turn until these have a token, or until there is nothing to do."""
        for _ in range(_STEPS):
            if self.is_idle or (until_written and all(self.tokens(name) for name in until_written)):
                return
            self.step()
        raise AssertionError("the loop does not come to an end")

    def tokens(self, name: str) -> list[int]:
        """What the text has come to."""
        return list(self.heard[name].generated_tokens) if name in self.heard else []

    def pages_of(self, name: str) -> list[int]:
        """The pages of a text that is open."""
        return list(self.allocator.block_table.get(name, []))

    @property
    def free_pages(self) -> int:
        """Pages that nobody has, kept prefixes not among them."""
        pool = self.processor.cache.pool
        return int(pool.num_free_sectors * self.allocator.blocks_per_sector + pool.count_free_blocks(0))

    @property
    def kept_pages(self) -> int:
        """Pages of no open text, kept for a later one with the same beginning."""
        return len(self.allocator.ledger.cached_blocks)

    def assert_nothing_is_held(self) -> None:
        """Nothing is open, reserved or in a page, but prefixes that are kept."""
        assert self.is_idle
        assert self.scheduler.reserved_tokens == 0
        assert self.scheduler._reserved == {}
        assert self.allocator.block_table == {}
        assert self.allocator.ledger.shared_ref_counts == {}
        assert self.free_pages + self.kept_pages == self.allocator.num_blocks

    def _scheduled(self, token_budget: int, cache_budget: int) -> Any:
        """Plan a batch, which always keeps these laws."""
        try:
            return self._lawful(token_budget, cache_budget)
        except AssertionError as error:
            # The loop survives any exception.
            raise Unlawful from error

    def _lawful(self, token_budget: int, cache_budget: int) -> Any:
        only = self.scheduler.only
        decoding = {
            name
            for name, one in self.scheduler.active_requests.items()
            if one.status == _DECODING and (only is None or name in only)
        }
        batch = self._schedule(token_budget, cache_budget)
        assert sum(self.scheduler._reserved.values()) == self.scheduler._reserved_pages <= self.allocator.num_blocks
        held = {page for table in self.allocator.block_table.values() for page in table}
        assert len(held) <= self.scheduler._reserved_pages
        assert len(self.scheduler.active_requests) <= self.texts
        if batch[0]:
            names = [one.state.request_id for one in batch[0]]
            # Prompts or tokens, and never prompts twice in a row while somebody waits for a token.
            are_prompts = decoding.isdisjoint(names)
            assert are_prompts or decoding.issuperset(names)
            assert not (are_prompts and self._were_prompts and decoding)
            # Single tokens read the cache by pages where the model can, and gather nobody's keys for it.
            _, by_pages, _, gathered = batch
            reads_pages = self.processor.cache.max_decode_fast_path_length > 0
            assert are_prompts or not reads_pages or (by_pages, gathered) == (True, 0)
            self._were_prompts = are_prompts
            self.batches.append([(one.state.request_id, one.query_length) for one in batch[0]])
        return batch

    def _hear(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            assert output.request_id not in self.heard or not self.heard[output.request_id].is_finished
            # What is told of goes on changing.
            self.heard[output.request_id] = Heard(tuple(output.generated_tokens), output.status, output.error)
            if NO_TOKEN in output.generated_tokens and not output.is_finished():
                # As whoever listens to a loop does.
                self.cancel(output.request_id)
            self.deliveries.append(output.request_id)


def ended_well(heard: Heard) -> bool:
    return heard.status == RequestStatus.FINISHED and heard.error is None


def _never() -> bool:
    raise AssertionError("what was begun is never put off")
