"""A generator whose texts an engine in another process writes: vLLM, SGLang, transformers' server, and their like."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from sluice.domain.enums import Task
from sluice.domain.errors import NoEndpoint
from sluice.domain.variant import Variant, variant_id
from sluice.engine.openai.http_client import OpenAIClient
from sluice.engine.openai.probe import probe
from sluice.engine.openai.request_body import Capabilities
from sluice.engine.openai.streams import UNLOADED, SlotUsage, Streams
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, GenerationRequest, OnChunks
from sluice.worker.execution.openai_config import EXTERNAL, OpenAIServer


class OpenAIGenerator:
    """Speaks to `server` on a thread and an event loop of its own, over one HTTP client.

    Texts are counted as the server counts them; where it does not, and until it does, by the events with new text. Its
    `busy_s` is that of Occupancy: what else the server does is not known.
    """

    def __init__(self, spec: ModelSpec, server: OpenAIServer) -> None:
        precision = spec.precision or EXTERNAL
        self.variant = Variant(
            id=variant_id(spec.model, spec.tier, precision),
            model=spec.model,
            tier=spec.tier,
            task=Task.TEXT_GENERATION,
            device=EXTERNAL,
            precision=precision,
            max_tokens=server.max_tokens,
            max_batch_size=spec.max_batch_size,
            max_generations=server.max_generations,
        )
        self._server = server
        self._dialect = Capabilities()
        self._occupancy = SlotUsage(server.max_generations)
        self._running: _Running | None = None
        self._hear: OnChunks | None = None
        # What is handed to a loop that was told to stop would be lost.
        self._handing = threading.Lock()

    @property
    def busy_s(self) -> float:
        """As Occupancy has it."""
        return self._occupancy.busy_s

    def warm_up(self) -> None:
        """Have a few tokens written. Raises what `probe` raises."""
        self._dialect = asyncio.run(probe(self._server))

    def start(self, hear: OnChunks) -> None:
        """Start the thread."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="openai", daemon=True)
        thread.start()
        line, streams = asyncio.run_coroutine_threadsafe(self._open(hear), loop).result()
        self._running, self._hear = _Running(loop, thread, line, streams), hear

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        """Have the text written, when one of `max_generations` places is free."""
        with self._handing:
            if self._running is not None:
                self._running.loop.call_soon_threadsafe(self._running.streams.begin, key, prompt)
                return
        if self._hear is not None:
            self._hear([Chunk(key=key, error=NoEndpoint(UNLOADED))])

    def cancel(self, key: int) -> None:
        """Close the text's connection."""
        with self._handing:
            if self._running is not None:
                self._running.loop.call_soon_threadsafe(self._running.streams.cancel, key)

    def close(self) -> None:
        """Close all connections, and end the thread."""
        with self._handing:
            running, self._running = self._running, None
        if running is None:
            return
        asyncio.run_coroutine_threadsafe(running.close(), running.loop).result()
        running.loop.call_soon_threadsafe(running.loop.stop)
        running.thread.join()
        running.loop.close()

    async def _open(self, hear: OnChunks) -> tuple[OpenAIClient, Streams]:
        line = OpenAIClient(self._server)
        return line, Streams(self._server, self._dialect, self._occupancy, line=line, hear=hear)


@dataclass(frozen=True, slots=True)
class _Running:
    """What there is between start and close."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    line: OpenAIClient
    streams: Streams

    async def close(self) -> None:
        await self.streams.close()
        await self.line.close()
