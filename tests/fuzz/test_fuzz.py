"""A minute of the fuzz in every test run, always with the same seed; `make fuzz` takes another one each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import run

SEED = 20_261_130
SECONDS = 60.0
# Less than half of what a busy machine sends in that time; a mesh that hardly answers is no test.
LEAST_MESSAGES = 5_000


@pytest.mark.timeout(300)
async def test_a_minute_of_random_messages_does_no_harm(tmp_path: Path) -> None:
    report = await run(seed=SEED, messages=10**9, seconds=SECONDS, folder=tmp_path)
    assert not report.findings, "\n".join(report.findings)
    assert report.messages > LEAST_MESSAGES
