"""Whom a link to a worker tells what it hears."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from services.router.queueing.batch import InFlightBatch
from services.router.requests.generation import PendingGeneration
from sluice.domain.variant import Variant
from sluice.v1 import worker_service_pb2 as worker_pb2

if TYPE_CHECKING:
    from services.router.workers.client import WorkerClient


class GenerationListener(Protocol):
    """Whom a link tells of texts."""

    def wrote(self, link: WorkerClient, pieces: Iterable[worker_pb2.GenerationPiece]) -> None:
        """The worker wrote; each piece is of a text that is open in the link's account, as long as it is."""

    def on_credit(self) -> None:
        """The worker may be able to take another text."""

    def lost(self, tickets: Iterable[PendingGeneration], why: str) -> None:
        """The texts will not be written on."""


class WorkerListener(Protocol):
    """Whom a link tells. All calls are made on the event loop and must not block."""

    @property
    def texts(self) -> GenerationListener:
        """Who is told of texts."""

    def on_worker_changed(self, link: WorkerClient) -> None:
        """The link went up or down, or its worker holds other variants now."""

    def on_worker_refused(self, link: WorkerClient, said: Iterable[Variant]) -> None:
        """The link went down because its worker broke the contract, which `said` that it held these variants."""

    def on_worker_credit(self, link: WorkerClient) -> None:
        """The worker can take another batch."""

    def on_worker_result(
        self, link: WorkerClient, batch: InFlightBatch, result: worker_pb2.BatchResult, compute_s: float
    ) -> None:
        """A batch is done; `result` names each of its tickets once, by the ids that they had when it was sent."""

    def on_worker_lost(self, link: WorkerClient, batches: Iterable[InFlightBatch], why: str) -> None:
        """The batches will not be answered."""
