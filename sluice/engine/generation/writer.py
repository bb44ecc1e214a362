"""The loop that writes: transformers' continuous batching with our scheduler, sampling, attention and outlet.

What it has of transformers is public or is overridden in one place; this file and its neighbours are what to look at when
transformers is raised to another version.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    ContinuousBatchProcessor,
)
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState, RequestStatus

from sluice.engine.generation.attention import use_paged_attention
from sluice.engine.generation.cache import is_latent, our_pages
from sluice.engine.generation.runner import StepRunner
from sluice.engine.generation.sampling import Samplers
from sluice.engine.generation.scheduler import NAME as SCHEDULER
from sluice.engine.generation.scheduler import ReservingScheduler, register

Outputs = Sequence[GenerationOutput]

logger = logging.getLogger(__name__)


class Outlet:
    """In the place of transformers' router of outputs: everything goes to one listener, a step at a time."""

    def __init__(self, hear: Callable[[Outputs], None]) -> None:
        self._hear = hear

    def deliver(self, output: GenerationOutput) -> None:
        """One text has ended."""
        self._hear([output])

    def deliver_batch(self, outputs: Outputs) -> None:
        """What a step has written."""
        self._hear(outputs)

    def fail_and_deliver(self, state: RequestState, error: Exception) -> None:
        """A text has failed."""
        state.status = RequestStatus.FAILED
        state.error = str(error)
        self.deliver(state.to_generation_output())


class PagedWriter(ContinuousBatchingManager):
    """Writes with `model` until stopped. Texts come by `add_request` and go by `cancel_request`, from any thread.

    `pages` of `page` tokens are all the memory that texts ever take, and `most_texts` are written at a time. `hear` is
    called on the writing thread. `on_out_of_memory` is told what a step had in hand and decides what becomes of it.
    """

    def __init__(
        self,
        model: Any,
        *,
        pages: int,
        page: int,
        most_texts: int,
        most_batch_tokens: int,
        most_tokens: int,
        hear: Callable[[Outputs], None],
        compiles: bool = False,
    ) -> None:
        register()
        self._compiles = compiles
        use_paged_attention(model)
        # A draw that was no number is fed back before anyone has seen it.
        model.get_input_embeddings().register_forward_pre_hook(lambda _, args: (args[0].clamp(min=0),))
        self.busy_s = 0.0
        self._step_began_at: float | None = None
        self._latent = is_latent(model.config)
        accelerated = model.device.type != "cpu"
        config = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=pages,
            max_batch_tokens=max(most_batch_tokens, most_texts),
            max_requests_per_batch=most_texts,
            max_memory_percent=1.0,
            max_blocks_per_request=0,
            scheduler_type=SCHEDULER,
            use_cuda_graph=(False, accelerated),
            use_async_batching=accelerated and model.device.type in {"cuda", "xpu"},
            auto_switch_to_flash=False,
            seed=0,
        )
        super().__init__(model, GenerationConfig(do_sample=False, eos_token_id=-1), config)
        # Only now: transformers takes them back where it does not find the `flash_attn` package.
        if not self._latent:
            self.continuous_batching_config.max_blocks_per_request = -(-(most_tokens + 1) // page)
        self.logit_processor = Samplers()
        self.output_router = Outlet(hear)

    @property
    def scheduler(self) -> ReservingScheduler:
        """Of the running loop."""
        if self.batch_processor is None:
            raise RuntimeError("the loop has not been started")
        scheduler: ReservingScheduler = self.batch_processor.scheduler
        return scheduler

    def busy_now_s(self) -> float:
        """Seconds of steps since the start, that which runs included."""
        began_at = self._step_began_at
        return self.busy_s + (time.monotonic() - began_at if began_at is not None else 0.0)

    def _create_batch_processor(self) -> ContinuousBatchProcessor:
        with our_pages(self.model.config.get_text_config()):
            processor = super()._create_batch_processor()
        if not isinstance(processor.model_runner, StepRunner):
            processor.model_runner = StepRunner(processor, self.logit_processor, compiles=self._compiles)
        return processor

    def _generation_loop_body(self, batch_processor: ContinuousBatchProcessor, bootstrapping: bool) -> bool:
        scheduler: ReservingScheduler = batch_processor.scheduler
        if not (scheduler.has_pending_requests() or self.input_queue.qsize()):
            go_on: bool = super()._generation_loop_body(batch_processor, bootstrapping)
            return go_on
        self._step_began_at = time.monotonic()
        try:
            go_on = super()._generation_loop_body(batch_processor, bootstrapping)
        finally:
            self.busy_s, self._step_began_at = self.busy_now_s(), None
        return go_on


def grad_free() -> Any:
    """Inference without gradients; tensors stay usable outside, as the cache is made on another thread."""
    return torch.no_grad()
