"""The ticket of a text: a request's ticket, and how far the text has come."""

from __future__ import annotations

import asyncio

from services.router.generation.outlet import Outlet
from services.router.requests.request import Request, Ticket
from services.router.requests.sampling_params import Sampling
from sluice.domain.variant import Variant


class TextTicket(Ticket):
    """One open text. It may go to another worker while `written`, its tokens that have come, is 0.

    `begun_at` and `first_token_at` are instants, None before; `begun_share_s` is its account's at the former. `writer`
    and `worker` are with whom it is, or was last; their account knows which. `lone_timer` rings when it has waited long
    enough for a worker that is free of other work.
    """

    __slots__ = (
        "begun_at",
        "begun_share_s",
        "first_token_at",
        "lone_timer",
        "outlet",
        "prompt_tokens",
        "received_bytes",
        "sampling",
        "worker",
        "writer",
        "written",
    )

    def __init__(self, number: int, request: Request, sampling: Sampling, *, hot: bool, now: float) -> None:
        self.outlet = Outlet()
        super().__init__(number, request, self.outlet.end, hot=hot, now=now)
        self.sampling = sampling
        self.written = 0
        # Bytes of new text that its worker has sent.
        self.received_bytes = 0
        self.prompt_tokens = 0
        self.begun_at: float | None = None
        self.begun_share_s = 0.0
        self.first_token_at: float | None = None
        self.writer: Variant | None = None
        self.worker = ""
        self.lone_timer: asyncio.TimerHandle | None = None

    def silence(self) -> None:
        """A text's reader waits for its end, whatever that is; so does the worker, which must be told."""
