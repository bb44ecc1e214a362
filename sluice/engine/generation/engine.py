"""A causal language model that writes many texts at a time, as the worker's seam has it."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import torch

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.domain.variant import with_texts
from sluice.engine.accelerator import TorchAccelerator
from sluice.engine.checkpoint.checkpoint import Checkpoint, describe
from sluice.engine.checkpoint.errors import checkpoint_error, one_line
from sluice.engine.checkpoint.task import CONFIG
from sluice.engine.generation.attention.backend import unsupported_reason
from sluice.engine.generation.attention.layer_arguments import hand_down
from sluice.engine.generation.continuous_batching import BatchingLoop
from sluice.engine.generation.kv_cache import KVCacheConfig, kv_cache_config_for
from sluice.engine.generation.prompt_tokenizer import ANY_TEXT, PromptTokenizer
from sluice.engine.generation.sampler import SamplerState
from sluice.engine.generation.sequence import GIVEN_BACK, OOM_PREFIX, Output, OutputSequence
from sluice.engine.precision.loader import load_precise
from sluice.runtime.cpu import granted_cores
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, GenerationRequest, OnChunks
from sluice.worker.resources.memory import free_memory_bytes

logger = logging.getLogger(__name__)


_GONE = "this model writes no more"
_NOT_EMBEDDED = "the text holds a token that the model was not made for"
_TOKENIZER = "tokenizer_config.json"
_RETRY_AFTER_S = 1.0
_SEED_BITS = 63


class GenerationEngine:
    """`model` is on its device already, and nobody else's. `compiles`: the first start takes minutes longer for it.

    `trial` is what it is tried with before it serves.
    """

    trial = GenerationRequest(text=ANY_TEXT, max_new_tokens=2)

    def __init__(
        self,
        spec: ModelSpec,
        checkpoint: Checkpoint,
        model: Any,
        shape: KVCacheConfig,
        *,
        precision: str,
        compiles: bool,
    ) -> None:
        self.checkpoint = checkpoint
        device_type = model.device.type
        self.variant = with_texts(
            describe(spec, checkpoint, device=device_type, precision=precision),
            cache_tokens=shape.cache_tokens,
            max_generations=shape.texts,
        )
        self._text_tokens = shape.text_tokens
        self._ends = _ends_of(model)
        self._reader = _reader_of(checkpoint)
        self._embedded = model.get_input_embeddings().weight.shape[0]
        self._writer = BatchingLoop(
            model,
            shape,
            hear=self._wrote,
            compiles=compiles,
            trial=self._reader.usual,
            broke=self._broke,
        )
        # One thread reads prompts and takes cancellations, so that they keep their order and the loop is not kept.
        self._prompts = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prompts")
        # Held while pieces are told as well, so that nothing follows a text's last one.
        self._lock = threading.RLock()
        self._open: dict[str, OutputSequence] = {}
        self._numbers: dict[int, str] = {}
        self._began = 0
        self._hear: OnChunks | None = None
        self._is_closed = False

    @property
    def busy_s(self) -> float:
        """Seconds of steps since the start."""
        return self._writer.busy_s

    def warm_up(self) -> None:
        """Make the cache, and compile and capture what steps there are."""
        self._writer.warmup()

    def start(self, hear: OnChunks) -> None:
        """Start the loop."""
        self._hear = hear
        self._writer.start()

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        """Read the prompt, then write when there is room."""
        try:
            self._prompts.submit(self._begin, key, prompt)
        except RuntimeError:
            self._tell([Chunk(key=key, error=NoEndpoint(_GONE))])

    def cancel(self, key: int) -> None:
        """End the text of `key`."""
        # Once the thread is gone, so are all texts.
        with suppress(RuntimeError):
            self._prompts.submit(self._cancel, key)

    @property
    def trouble(self) -> str:
        """Why the loop has ended by itself; empty while it has not. It is not begun again."""
        return self._writer.trouble

    def is_device_lost(self) -> bool:
        """Whether the loop has ended because the device is lost."""
        return self._writer.is_device_lost

    def close(self) -> None:
        """End everything."""
        with self._lock:
            self._is_closed = True
            # Before the loop ends, which would call them failed.
            self._tell([self._end(text, NoEndpoint(_GONE)) for text in self._take_all()])
        self._prompts.shutdown(wait=True)
        if self._writer.is_running():
            self._writer.stop(hard_stop=True)
        self._writer.release()

    def _begin(self, key: int, prompt: GenerationRequest) -> None:
        try:
            self._submit(key, prompt)
        except SluiceError as error:
            self._tell([Chunk(key=key, error=error)])
        except Exception as error:
            logger.exception("a prompt could not be read")
            self._tell([Chunk(key=key, error=WorkerFailed(f"{type(error).__name__}: {error}"))])

    def _submit(self, key: int, prompt: GenerationRequest) -> None:
        if self._is_closed:
            raise NoEndpoint(_GONE)
        ids = self._reader.read(prompt.text)
        # Tokenizers may know more than their model embeds; on an accelerator such a token would end the process.
        if max(ids) >= self._embedded:
            raise InvalidRequest(_NOT_EMBEDDED, field="prompt")
        room = self._text_tokens - len(ids)
        if room < 1:
            problem = f"the prompt has {len(ids)} tokens, and this model takes {self._text_tokens - 1}"
            raise InvalidRequest(problem, field="prompt")
        text = OutputSequence(
            prompt, key=key, prompt_tokens=len(ids), tokenizer=self.checkpoint.tokenizer, ends=self._ends
        )
        with self._lock:
            if self._is_closed:
                raise NoEndpoint(_GONE)
            self._began += 1
            number = f"{self._began}"
            self._open[number], self._numbers[key] = text, number
        self._writer.begin(
            number,
            ids,
            max_new_tokens=min(room, prompt.max_new_tokens),
            ends=self._ends,
            sampling=SamplerState(prompt, seed=random.getrandbits(_SEED_BITS)),
        )
        if not self._writer.can_generate and self._take(number) is not None:
            # The loop ended before it had seen this one.
            raise NoEndpoint(f"{_GONE}: {self._writer.trouble}".rstrip(": "))

    def _cancel(self, key: int) -> None:
        with self._lock:
            number = self._numbers.get(key)
            text = self._take(number) if number is not None else None
            if text is not None and number is not None:
                self._writer.cancel_request(number)
                self._tell([self._end(text, Cancelled("nobody waited for it any more"))])

    def _wrote(self, outputs: Sequence[Output]) -> None:
        """On the writing thread: what a step has come to."""
        with self._lock:
            pieces = []
            for output in outputs:
                text = self._open.get(output.request_id)
                if text is None:
                    continue
                try:
                    piece = self._piece(text, output)
                except Exception as error:
                    logger.exception("tokens could not be read")
                    piece = self._end(text, WorkerFailed(f"{type(error).__name__}: {error}"))
                if piece.is_last:
                    self._take(output.request_id)
                    if not output.is_finished():
                        self._writer.cancel_request(output.request_id)
                pieces.append(piece)
            self._tell(pieces)

    def _broke(self) -> None:
        """On the writing thread: the loop has ended by itself. Who listens is to look at why."""
        if self._hear is not None and not self._is_closed:
            self._hear(())

    def _piece(self, text: OutputSequence, output: Output) -> Chunk:
        if output.error is None:
            return text.write(output.generated_tokens, is_done=output.is_finished())
        if output.error.startswith(OOM_PREFIX):
            return self._end(text, Saturated("the device has no room for this text", retry_after_s=_RETRY_AFTER_S))
        if output.error.startswith(GIVEN_BACK):
            return self._end(text, NoEndpoint(f"{_GONE}: {output.error.removeprefix(GIVEN_BACK)}"))
        return self._end(text, WorkerFailed(output.error))

    def _end(self, text: OutputSequence, error: SluiceError) -> Chunk:
        return Chunk(key=text.key, tokens=text.tokens, prompt_tokens=text.prompt_tokens, error=error)

    def _take(self, number: str) -> OutputSequence | None:
        """The text of this number, which is open no more; None if it was not."""
        with self._lock:
            text = self._open.pop(number, None)
            if text is not None and self._numbers.get(text.key) == number:
                del self._numbers[text.key]
        return text

    def _take_all(self) -> list[OutputSequence]:
        return [text for number in tuple(self._open) if (text := self._take(number)) is not None]

    def _tell(self, pieces: Sequence[Chunk]) -> None:
        if pieces and self._hear is not None:
            self._hear(pieces)


def _reader_of(checkpoint: Checkpoint) -> PromptTokenizer:
    try:
        return PromptTokenizer(checkpoint.tokenizer)
    except ValueError as error:
        problem = f"has a chat template that cannot be used: {one_line(error)}"
        raise checkpoint_error(checkpoint.path, _TOKENIZER, problem) from error


def _ends_of(model: Any) -> frozenset[int]:
    """The tokens that end a text, as the checkpoint's generation_config.json or config.json names them."""
    for config in (model.generation_config, model.config):
        ends = getattr(config, "eos_token_id", None)
        if ends is not None:
            return frozenset(ends if isinstance(ends, list | tuple) else [ends])
    return frozenset()


# From a checkpoint to a generator: its model on a device, and as large a cache as there is room for.


ACCELERATOR_TEXTS = 256
CPU_TEXTS = 16
# A copy that is staged beside its full model must leave that one its room.
_SHARE_OF_LESSER = 0.25


def load_engine(spec: ModelSpec, checkpoint: Checkpoint, *, device: torch.device, precision: str) -> GenerationEngine:
    """Load `checkpoint` in `precision` on `device`. Its cache takes the share of the room that is left by `spec`.

    Raises InvalidRequest naming the file or field at fault, and MemoryError when there is no room.
    """
    on_cpu = device.type == "cpu"
    if on_cpu:
        torch.set_num_threads(spec.threads or granted_cores())
    model = load_precise(checkpoint.path, precision=precision, device=device, task=Task.TEXT_GENERATION)
    if missing := unsupported_reason(model):
        raise checkpoint_error(
            checkpoint.path, CONFIG, f"describes {missing}, which this release does not write texts with"
        )
    room = spec.generation
    share = room.memory_share * (1.0 if spec.tier is Tier.FULL else _SHARE_OF_LESSER)
    free_bytes = free_memory_bytes() if on_cpu else TorchAccelerator(device).room_bytes()
    shape = kv_cache_config_for(
        model.config.get_text_config(),
        device_type=device.type,
        dtype=model.dtype,
        texts=room.max_texts or (CPU_TEXTS if on_cpu else ACCELERATOR_TEXTS),
        max_tokens=checkpoint.max_tokens,
        memory_bytes=share * free_bytes,
    )
    # What hands arguments past a layer is not known to a compiler.
    compiles = not hand_down(model) and room.compiles and not on_cpu
    return GenerationEngine(spec, checkpoint, model, shape, precision=precision, compiles=compiles)
