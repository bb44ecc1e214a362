"""The loop that writes: transformers' continuous batching with our cache, scheduler, sampling, attention and outlet.

This file and its neighbours are what to look at when transformers is raised to another version: they take the place of
parts that it keeps to itself.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    ContinuousBatchProcessor,
)
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingAsyncIOs
from transformers.generation.continuous_batching.utils import logger as their_logger
from transformers.generation.continuous_batching.utils import stream_context

from sluice.engine.generation.attention.backend import use_paged_attention
from sluice.engine.generation.attention.mla import can_absorb
from sluice.engine.generation.decode_inputs import vectorize_decode_inputs
from sluice.engine.generation.kv_cache import KVCacheConfig, is_latent, use_layered_allocator
from sluice.engine.generation.model_runner import PagedModelRunner
from sluice.engine.generation.prefill import compile_prefill
from sluice.engine.generation.sampler import SAMPLING, Sampler, SamplerState
from sluice.engine.generation.scheduler import NAME as SCHEDULER
from sluice.engine.generation.scheduler import ReservingScheduler, register
from sluice.engine.generation.sequence import Hear, OutputRouter, SequenceState
from sluice.engine.generation.step_recovery import StepRecovery
from sluice.engine.precision.quantizers import is_quantized

_ASYNCHRONOUS = frozenset(ContinuousBatchingAsyncIOs._supported_device_types)

logger = logging.getLogger(__name__)


class BatchingLoop(ContinuousBatchingManager):
    """Writes with `model` until stopped. Texts come by `begin` and go by `cancel_request`, from any thread.

    `hear` is called on the writing thread with what each step wrote, and `broke` when the loop has ended by itself.
    `compiles`: steps are compiled. `trial` are tokens that the model goes on from if it goes on from any.
    """

    def __init__(
        self,
        model: Any,
        shape: KVCacheConfig,
        *,
        hear: Hear,
        compiles: bool,
        trial: Sequence[int] = (0,),
        broke: Callable[[], None] | None = None,
    ) -> None:
        _join_our_logs()
        register()
        use_paged_attention(model)
        # A draw that was no number is fed back before anyone has seen it.
        model.get_input_embeddings().register_forward_pre_hook(lambda _, args: (args[0].clamp(min=0),))
        self._prompts_body = compile_prefill(model) if compiles else None
        # Seconds of past steps, and when that which runs began: one thing, as another thread reads both.
        self._busy: tuple[float, float | None, float] = (0.0, None, 0.0)
        self._begins_anew = False
        self._broke = broke
        self._recovery = StepRecovery(model.device, trial=trial)
        kind = model.device.type
        config = ContinuousBatchingConfig(
            page_size=shape.page,
            num_blocks=shape.pages,
            max_batch_tokens=max(shape.batch_tokens, shape.texts),
            max_requests_per_batch=shape.texts,
            max_memory_percent=1.0,
            max_blocks_per_request=0,
            scheduler_type=SCHEDULER,
            use_cuda_graph=(False, kind != "cpu"),
            use_async_batching=kind in _ASYNCHRONOUS,
            auto_switch_to_flash=False,
            # What is drawn depends on the seeds of texts alone.
            seed=0,
        )
        super().__init__(model, GenerationConfig(do_sample=False, eos_token_id=-1), config)
        # Only now: transformers takes them back where it does not find the `flash_attn` package. No kernel of an
        # accelerator has been tried with rows as wide as latents.
        if not is_latent(model.config.get_text_config()) or (kind == "cpu" and can_absorb(model)):
            self.continuous_batching_config.max_blocks_per_request = -(-(shape.text_tokens + 1) // shape.page)
        self.logit_processor = Sampler()
        self.output_router = OutputRouter(hear)

    def start(self) -> None:
        """Start the loop, on a thread that keeps no program from ending."""
        self.background_thread_status.clear()
        # A tenth of a step on a CPU. What is compiled was so without it, and torchao's tensors bear it badly.
        is_plain = not any(map(is_quantized, self.model.parameters()))
        kwargs = {"use_inference_mode": self.model.device.type == "cpu" and is_plain}
        self._generation_thread = threading.Thread(
            target=self._run_generation_loop, kwargs=kwargs, name="writer", daemon=True
        )
        self._generation_thread.start()

    def begin(
        self, number: str, tokens: Sequence[int], *, max_new_tokens: int, ends: Collection[int], sampling: SamplerState
    ) -> None:
        """Write on from `tokens`. Nothing is told of a text that comes after the loop has ended."""
        state = SequenceState(
            request_id=number,
            initial_tokens=list(tokens),
            max_new_tokens=max_new_tokens,
            eos_token_id=list(ends),
            streaming=True,
            logit_processor_kwargs={SAMPLING: sampling},
        )
        self.input_queue.put(state)
        self._wake_up_loop.set()

    @property
    def busy_s(self) -> float:
        """Seconds of steps since the start, that which runs included, weighed as Generator has it. For any thread."""
        busy_s, began_at, fullness = self._busy
        return busy_s + (fullness * (time.monotonic() - began_at) if began_at is not None else 0.0)

    @property
    def trouble(self) -> str:
        """Why the loop has ended by itself; empty while it has not."""
        error = self.background_thread_status.fatal_error
        return f"{type(error).__name__}: {error}" if error is not None else ""

    @property
    def is_device_lost(self) -> bool:
        """Whether the loop has ended because the device said that it is lost, and a trial agreed."""
        return self._recovery.is_device_lost

    @property
    def can_generate(self) -> bool:
        """Whether what was added until now is written, or is told that it failed."""
        return self.background_thread_status.can_accept_new_requests() is None

    def release(self) -> None:
        """Let go of model and cache. The loop has ended, and is not started again."""
        if self._prompts_body is not None:
            self._prompts_body = None
            # What a compiler made knows the model in circles, which a worker has frozen. Who closes this collects them.
            gc.unfreeze()
        del self.model
        self.batch_processor = None

    def _create_batch_processor(self) -> ContinuousBatchProcessor:
        with use_layered_allocator(self.model.config.get_text_config()):
            processor = super()._create_batch_processor()
        if not isinstance(processor.model_runner, PagedModelRunner):
            processor.model_runner = PagedModelRunner(processor, self.logit_processor, prompts_body=self._prompts_body)
            vectorize_decode_inputs(processor.inputs_and_outputs)
            processor.scheduler.in_order = partial(stream_context, processor.inputs_and_outputs.compute_stream)
        self._recovery.reset()
        return processor

    def _handle_critical_error(self, error: Exception, batch_processor: ContinuousBatchProcessor | None) -> None:
        super()._handle_critical_error(error, batch_processor)
        if self._broke is not None:
            self._broke()

    def _generation_loop_body(self, batch_processor: ContinuousBatchProcessor, bootstrapping: bool) -> bool:
        scheduler: ReservingScheduler = batch_processor.scheduler
        if scheduler.has_pending_requests() or self.input_queue.qsize():
            self._busy = self._busy[0], time.monotonic(), scheduler.fullness
        pair, step = getattr(batch_processor.inputs_and_outputs, "current_pair", 0), self.current_batch
        scheduler.planned = []
        try:
            go_on = self._step(batch_processor, bootstrapping=bootstrapping)
            if scheduler.is_careful:
                scheduler.restore_batches()
            if self._recovery.is_searching:
                self._recovery.look(batch_processor, has_stepped=self.current_batch > step)
        except Exception as error:
            self._recovery.recover(batch_processor, error, pair=pair, step=step)
            go_on = self._begins_anew = True
        finally:
            self._busy = self.busy_s, None, 0.0
        return go_on

    def _step(self, batch_processor: ContinuousBatchProcessor, *, bootstrapping: bool) -> bool:
        if bootstrapping or not (self._begins_anew and batch_processor.use_async_batching):
            self._begins_anew = False
            go_on: bool = super()._generation_loop_body(batch_processor, bootstrapping)
            return go_on
        # No step is under way, so this one has no results of an earlier one to look at.
        launched = not super()._generation_loop_body(batch_processor, True)
        self._begins_anew = not launched
        return True


def _join_our_logs() -> None:
    """transformers prints what this part of it does by itself; what matters of it is logged like everything else."""
    their_logger.handlers.clear()
    their_logger.propagate = True
    their_logger.setLevel(logging.WARNING)
