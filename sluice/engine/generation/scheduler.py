"""Which texts the next step works on: prompts or new tokens, never both, and only texts whose memory is certain.

A batch of whole prompts reads nothing from the cache and one of single tokens reads it by pages, while a batch of both
gathers everybody's keys anew in every layer: separate ones are several times faster. Prompts go first, but never twice
in a row while somebody waits for a token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState, RequestStatus
from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, Scheduler

from sluice.engine.generation.sampler import NO_TOKEN, SAMPLING

NAME = "sluice_reserving"
_STEPS_AHEAD = 3
_NO_PAGES: dict[str, int] = {}
Batch = tuple[list[FutureRequestState] | None, bool, int, int]


class ReservingScheduler(Scheduler):
    """A text begins when all pages that it can ever fill are free, so nothing that was begun is put off or lost.

    `most_batch_tokens` and `max_requests_per_batch` bound one batch; `shrink_batches` halves them until a step
    succeeds. In a context of `in_order` the cache is changed after the steps that are under way have done so. While
    `only` is not None nobody else is scheduled. `planned` is the newest batch, and None while it is being planned.
    """

    def __init__(self, cache: PagedAttentionCache, safety_margin: float | None, max_requests_per_batch: int) -> None:
        del safety_margin
        allocator = next(iter(cache.cache_allocators.values()))
        self._page = allocator.tokens_per_page
        self._pages = allocator.blocks_per_sector * cache.num_sectors
        self._allocator = allocator
        self.most_batch_tokens = cache.max_batch_tokens
        self.in_order: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.max_requests_per_batch = max_requests_per_batch
        self._usual = cache.max_batch_tokens, max_requests_per_batch
        super().__init__(cache, 0.0, max_requests_per_batch)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._reserved: dict[str, int] = {}
        self._reserved_pages = 0
        self._last_was_prompts = False
        self.only: Collection[str] | None = None
        self.planned: list[FutureRequestState] | None = []

    @property
    def reserved_tokens(self) -> int:
        """What the texts that were begun may come to."""
        return self._reserved_pages * self._page

    def schedule_batch(self, token_budget: int, cache_budget: int) -> Batch:
        """As transformers has it: the batch, whether it is read by pages, its tokens, and the tokens that it reads."""
        self.planned = None
        batch = self._plan(token_budget, cache_budget)
        self.planned = batch[0] or []
        return batch

    def _plan(self, token_budget: int, cache_budget: int) -> Batch:
        with self.in_order():
            # Before anybody gets pages of those that have gone.
            self._allocator.clear()
        decoding = [state for state in self.active_requests.values() if state.status == RequestStatus.DECODING]
        if self.only is not None:
            decoding = [state for state in decoding if state.request_id in self.only]
        prompts = [] if self._last_was_prompts and decoding else list(self._prompts())
        self._last_was_prompts = bool(prompts)
        if not prompts and all(state.position_offset < self.cache.max_decode_fast_path_length for state in decoding):
            return self._tokens(decoding)
        candidates = prompts or decoding
        budget = min(token_budget, self.most_batch_tokens) if prompts else token_budget
        self._make_room(sum(self._new_pages(state, budget) for state in candidates))
        begun: set[str] = set()
        scheduled, failed, by_pages, tokens, read = self._process_candidates(candidates, budget, cache_budget, begun)
        self._cleanup_waiting_queue(begun)
        if not scheduled and failed:
            return None, by_pages, 0, 0
        return scheduled, by_pages, tokens, read

    @property
    def fullness(self) -> float:
        """The share of places or of memory that is taken, whichever is larger, in [0, 1]."""
        return min(1.0, max(len(self.active_requests) / self._usual[1], self._reserved_pages / self._pages))

    @property
    def is_careful(self) -> bool:
        """Whether batches are smaller than usual."""
        return self.most_batch_tokens < self._usual[0]

    def shrink_batches(self, *, tokens: int, texts: int) -> None:
        """A batch of so much was too much: batches are at most half of it."""
        self.most_batch_tokens = max(1, min(tokens, self.most_batch_tokens) // 2)
        self.max_requests_per_batch = max(1, min(texts, self.max_requests_per_batch) // 2)

    def restore_batches(self) -> None:
        """A step has succeeded."""
        self.most_batch_tokens, self.max_requests_per_batch = self._usual

    def put_back(self, state: RequestState) -> None:
        """A text lost its step: its pages are free, and it is read again, with all that it has written, as the next."""
        again = state.create_equivalent_initial_request()
        sampling = again.logit_processor_kwargs.get(SAMPLING)
        if sampling is not None:
            sampling.go_back_to(len(again.to_generation_output().generated_tokens))
        self.finish_request(state.request_id)
        self.waiting_requests[again.request_id] = again
        self.waiting_requests_order.appendleft(again.request_id)

    def mend_order(self) -> None:
        """A plan may have failed between two places where it notes who waits."""
        order = dict.fromkeys(name for name in self.waiting_requests_order if name in self.waiting_requests)
        self.waiting_requests_order: deque[str] = deque(order)

    def written_by(self, request_id: str) -> int | None:
        """How many tokens a sequence has written in all; None if it has ended."""
        state = self.active_requests.get(request_id) or self.waiting_requests.get(request_id)
        return None if state is None else len(state.to_generation_output().generated_tokens)

    def finish_request(self, request_id: str) -> None:
        """Free a text's pages, and what was reserved for it."""
        self._clean(request_id)
        super().finish_request(request_id)
        self._reserved_pages -= self._reserved.pop(request_id, 0)

    def clear_cancelled_requests(self) -> list[RequestState]:
        """Free those of all texts that were cancelled."""
        for request_id in tuple(self._requests_to_cancel):
            self._clean(request_id, is_unseen=True)
        states: list[RequestState] = super().clear_cancelled_requests()
        for state in states:
            self._reserved_pages -= self._reserved.pop(state.request_id, 0)
            # A step that is under way still brings it a token, and there is no place any more where to note it.
            state.status = RequestStatus.FINISHED
        return states

    def _prompts(self) -> Iterator[RequestState]:
        """Prompts that were begun and cut, then those for which all is free, in order; nobody overtakes who waits."""
        for state in self.active_requests.values():
            if state.status == RequestStatus.PREFILLING and self._may_go_on(state.request_id):
                yield state
        room = self.max_requests_per_batch - self._count_active()
        for request_id in tuple(self.waiting_requests_order):
            if not self._may_go_on(request_id):
                continue
            state = self.waiting_requests[request_id]
            pages = self._reserved.get(request_id) or self._pages_of(len(state.initial_tokens) + state.max_new_tokens)
            if request_id not in self._reserved:
                if room <= 0 or self._reserved_pages + pages > self._pages:
                    return
                self._reserved[request_id] = pages
                self._reserved_pages += pages
            room -= 1
            yield state

    def _may_go_on(self, request_id: str) -> bool:
        return self.only is None or request_id in self.only

    def _count_active(self) -> int:
        """Those that share the next steps."""
        if self.only is None:
            return len(self.active_requests)
        return sum(name in self.only for name in self.active_requests)

    def _tokens(self, decoding: Sequence[RequestState]) -> Batch:
        """A step of single tokens by pages. As all memory is certain, there is next to nothing to do for most texts."""
        texts = decoding[: self.max_requests_per_batch]
        # All pages of a text are full, and its token begins the next.
        beginning = [state for state in texts if not state.position_offset % self._page]
        self._make_room(len(beginning))
        self.starved_requests: list[tuple[RequestState, int]] = []
        starved = {
            state.request_id for state in beginning if not self.cache.can_store_request_tokens(state, request_len=1)
        }
        batch = [
            FutureRequestState(state, True, self._completed(state), 1)
            for state in texts
            if state.request_id not in starved
        ]
        if starved and not batch:
            return None, True, 0, 0
        return batch, True, len(batch), 0

    def _completed(self, state: RequestState) -> dict[str, int]:
        """The pages, by allocator, that the text's next token completes."""
        is_last = state.position_offset % self._page == self._page - 1
        return self.cache.count_new_complete_blocks(state, 1) if is_last else _NO_PAGES

    def _clean(self, request_id: str, *, is_unseen: bool = False) -> None:
        """Leave nothing in a text's pages that is no number: masked or not, it would spoil whoever gets them next.

        `is_unseen`: if there is no token yet, nobody has seen what came of the prompt.
        """
        state = self.active_requests.get(request_id)
        if state is None:
            return
        # A step or two are begun before a bad one is seen.
        if NO_TOKEN in state.generated_tokens[-_STEPS_AHEAD:] or (is_unseen and not state.generated_tokens):
            with self.in_order():
                self._allocator.scrub(request_id)
        else:
            # Where a step that is under way may write, and nobody will see what comes of it.
            self._allocator.forget(request_id, state.current_len() - 1)

    def _pages_of(self, tokens: int) -> int:
        return -(-tokens // self._page)

    def _new_pages(self, state: RequestState, budget: int) -> int:
        length = 1 if state.status == RequestStatus.DECODING else min(budget, len(state.remaining_prefill_tokens))
        pages: int = self._allocator.needs_new_blocks(state.request_id, state.current_len(), length)
        return pages

    def _make_room(self, pages: int) -> None:
        """Give up prefixes that are kept for later texts if `pages` are not free without."""
        pool = self.cache.pool
        pool.try_to_free_sectors()
        free = pool.num_free_sectors * self._allocator.blocks_per_sector + pool.count_free_blocks(self._allocator.index)
        if free < pages and self.cache.evict_cached_blocks():
            pool.try_to_free_sectors()

    def _try_to_meet_safety_margin(self) -> bool:
        """What is begun has its memory, so there is no margin to keep."""
        return True


def register() -> None:
    """Let transformers find the scheduler by NAME."""
    SCHEDULER_MAPPING[NAME] = ReservingScheduler
