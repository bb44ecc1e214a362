"""The Python client: `Client` for threads, `AsyncClient` for asyncio, one meaning."""

from __future__ import annotations

from sluice.client.aio import AsyncClient
from sluice.client.answer import Answer
from sluice.client.generated import Generated
from sluice.client.prompt import Prompt
from sluice.client.query import Query
from sluice.client.sync import Client

__all__ = ["Answer", "AsyncClient", "Client", "Generated", "Prompt", "Query"]
