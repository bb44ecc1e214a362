"""Sluice: a gRPC mesh that serves transformer models and degrades instead of failing.

`from sluice import Client` is all that a caller needs; it is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice.client import Answer, AsyncClient, Client, Generated, Prompt, Query

__version__ = "0.1.0"
__all__ = ["Answer", "AsyncClient", "Client", "Generated", "Prompt", "Query"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sluice import client

        return getattr(client, name)
    raise AttributeError(f"module 'sluice' has no attribute '{name}'")
