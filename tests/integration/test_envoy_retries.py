"""Envoy tries a refused call again, which it can only where the refusal came in trailers alone."""

from __future__ import annotations

import pytest

from benchmarks.rolling_restart.envoy import envoy
from benchmarks.stock_clients import Missing, Plan, call
from sluice.domain.errors import Reason
from tests.integration.fake_worker import FakeWorker, hold
from tests.integration.live_router import facing
from tests.integration.test_retries import INFER, filled, infer


async def test_envoy_tries_a_refused_call_again() -> None:
    async with facing(FakeWorker(hold), admission="caps", max_open_requests=1) as face:
        held = await filled(face)
        try:
            async with envoy((face.address,), health=False) as proxy:
                ends = await call("python", Plan((proxy,), INFER, infer()))
        except Missing as why:
            pytest.skip(str(why))
        assert ends.codes == {"RESOURCE_EXHAUSTED": 1}
        refused = sum(count for key, count in face.router.ledger.outcomes.items() if Reason.SATURATED in key)
        assert refused == 4
        held.cancel()
