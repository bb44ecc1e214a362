"""Simulated workers that write, in virtual time: memory, steps, and every way of going away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from services.router.requests.generation import PendingGeneration
from services.router.requests.request import GenerationResult, Request
from services.router.requests.sampling_params import SamplingParams
from services.router.workers.client import WorkerClient
from services.router.workers.listener import WorkerListener
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import Cancelled, SluiceError
from sluice.domain.status import to_item_status
from sluice.domain.variant import Variant, to_proto, variant_id
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.simulation.sim_mesh import SimMesh

MODEL = "chat"
LOOKAHEAD = 8
STEP_S = 0.02


class SimScribe(WorkerClient):
    """A link whose other end is this object. It writes at most `room` texts at a time, a token of each every step."""

    def __init__(self, name: str, owner: WorkerListener, *, clock: Any, tier: Tier = Tier.FULL, room: int = 16) -> None:
        super().__init__(name, owner, clock=clock)
        self.room = room
        self.written = 0
        self.is_frozen = False
        self._variant = Variant(
            id=variant_id(MODEL, tier, "fp32"),
            model=MODEL,
            tier=tier,
            task=Task.TEXT_GENERATION,
            device="cuda" if tier is Tier.FULL else "cpu",
        )
        self._waits: list[tuple[int, int]] = []
        self._writes: dict[int, list[int]] = {}
        self._next_step: asyncio.TimerHandle | None = None

    def connect(self) -> None:
        """Its first message; nothing happens while it is up."""
        if not self.up:
            self._tell(worker_pb2.Credit(generations=LOOKAHEAD), self._variant)
            self._step_later()

    def withdraw(self) -> None:
        """It serves nothing any more, and writes on what it has."""
        if self.up:
            self._tell(None)

    def offer(self) -> None:
        """It serves again."""
        if self.up:
            self._tell(None, self._variant)

    def die(self) -> None:
        """Its connection breaks."""
        self._waits.clear()
        self._writes.clear()
        self._go_down("it died")

    def send_generation(self, ticket: PendingGeneration, variant_id: str) -> None:
        """Take a text: its prompt says how many tokens it has."""
        assert self.texts.credits > 0, "a text came without a credit"
        self.texts.send(ticket)
        ticket.writer, ticket.worker = self.known_variants[variant_id], self.worker
        self._waits.append((ticket.id, int(ticket.request.text)))

    def cancel(self, items: Iterable[int]) -> None:
        """Forget texts: in a moment, as a message takes one."""
        asyncio.get_running_loop().call_later(0.001, self._forget, list(items))

    @property
    def held(self) -> Iterable[Variant]:
        return tuple(self.texts.variants.values())

    def _tell(self, credit: worker_pb2.Credit | None, *variants: Variant) -> None:
        welcome = worker_pb2.Welcome(worker=self.address, variants=map(to_proto, variants))
        self.known_variants[self._variant.id] = self._variant
        self._accept(worker_pb2.ExecuteResponse(welcome=welcome, credit=credit))

    def _forget(self, numbers: list[int]) -> None:
        pieces = []
        for number in numbers:
            if number in self._writes or any(number == one for one, _ in self._waits):
                tokens = self._writes.pop(number, [0, 0])[0]
                self._waits = [(one, limit) for one, limit in self._waits if one != number]
                status = to_item_status(Cancelled("cancelled"))
                pieces.append(worker_pb2.GenerationPiece(id=number, tokens=tokens, status=status))
        if pieces and self.up:
            begun = sum(not piece.tokens for piece in pieces)
            self._accept(worker_pb2.ExecuteResponse(pieces=pieces, credit=worker_pb2.Credit(generations=begun)))

    def _step_later(self) -> None:
        if self._next_step is not None:
            self._next_step.cancel()
        self._next_step = asyncio.get_running_loop().call_later(STEP_S, self._step)

    def _step(self) -> None:
        self._step_later()
        if not self.up or self.is_frozen:
            return
        begun = 0
        while self._waits and len(self._writes) < self.room:
            number, limit = self._waits.pop(0)
            self._writes[number] = [0, limit]
            begun += 1
        pieces = [self._piece(number, state) for number, state in list(self._writes.items())]
        if pieces:
            self._accept(worker_pb2.ExecuteResponse(pieces=pieces, credit=worker_pb2.Credit(generations=begun)))

    def _piece(self, number: int, state: list[int]) -> worker_pb2.GenerationPiece:
        state[0] += 1
        self.written += 1
        is_last = state[0] >= state[1]
        if is_last:
            del self._writes[number]
        text = f"{self.address} "
        return worker_pb2.GenerationPiece(id=number, text=text, tokens=state[0], finish_reason=1 if is_last else 0)  # type: ignore[arg-type]


@dataclass(slots=True, kw_only=True)
class TextFate:
    """One text, and how it ended: `reason` is empty for one that was written. `words` are the workers' names."""

    wanted: int
    hot: bool
    words: list[str] = field(default_factory=list)
    tokens: int = 0
    ends: int = 0
    reason: str = ""
    took_s: float = float("inf")
    metadata: dict[str, str] = field(default_factory=dict)


def scribe(mesh: SimMesh, name: str, **options: Any) -> SimScribe:
    """A worker that writes, connected."""
    made = SimScribe(name, mesh.router, clock=asyncio.get_running_loop().time, **options)
    mesh.connect(name, made)
    return made


async def offer_texts(
    mesh: SimMesh, *, rate: float, seconds: float, seed: int, mean_tokens: int = 40, leaves: float = 0.1
) -> list[TextFate]:
    """Texts that come by chance and are read as they come, some of them by callers who leave before the end."""
    dice, fates, readers = Random(seed), list[TextFate](), list[asyncio.Task[None]]()
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while loop.time() < ends_at:
        await asyncio.sleep(dice.expovariate(rate))
        fate = TextFate(wanted=1 + int(dice.expovariate(1 / mean_tokens)), hot=dice.random() < 0.2)
        fates.append(fate)
        timeout_s = dice.choice((2.0, 5.0, 20.0))
        leaves_s = dice.uniform(0.0, 3.0) if dice.random() < leaves else None
        readers.append(asyncio.create_task(_read(mesh, fate, timeout_s=timeout_s, leaves_s=leaves_s)))
    await asyncio.gather(*readers)
    return fates


async def _read(mesh: SimMesh, fate: TextFate, *, timeout_s: float, leaves_s: float | None) -> None:
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    request = Request(
        model=MODEL, text=str(fate.wanted), deadline=begun_at + timeout_s, priority=0.9 if fate.hot else 0.3
    )
    try:
        ticket = mesh.router.texts.take(request, SamplingParams(max_new_tokens=fate.wanted))
    except SluiceError as error:
        fate.ends, fate.reason = 1, error.reason.value
        return
    if leaves_s is not None:
        loop.call_later(leaves_s, mesh.router.texts.cancel, ticket)
    end = ticket.outlet.end

    def ended(outcome: GenerationResult | SluiceError) -> None:
        fate.ends += 1
        end(outcome)

    ticket.outlet = _Watched(ticket.outlet, ended)  # type: ignore[assignment]
    while True:
        portion = await ticket.outlet.take()
        assert portion.tokens >= fate.tokens
        fate.words.extend(portion.text.split())
        fate.tokens = portion.tokens
        if portion.outcome is not None:
            break
    fate.took_s = loop.time() - begun_at
    if isinstance(portion.outcome, SluiceError):
        fate.reason, fate.metadata = portion.outcome.reason.value, dict(portion.outcome.metadata)


class _Watched:
    """An outlet whose end is counted."""

    def __init__(self, outlet: Any, end: Any) -> None:
        self.put, self.take, self.end = outlet.put, outlet.take, end
