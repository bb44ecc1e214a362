"""Which of two governors directs."""

from __future__ import annotations

import pytest

from services.governor.fence import MOST_LEASES, Fence

LEASE_S = 3.0


@pytest.fixture
def fence() -> Fence:
    return Fence(lease_s=LEASE_S)


@pytest.mark.parametrize(
    ("obeyed", "is_directed", "stands_by"),
    [(200, True, True), (200, False, False), (100, True, False), (50, True, False)],
    ids=["alive and greater", "greater and silent", "itself", "lesser"],
)
def test_only_a_greater_epoch_that_is_alive_outranks(
    fence: Fence, obeyed: int, *, is_directed: bool, stands_by: bool
) -> None:
    fence.hear(obeyed, mine=100, is_directed=is_directed, now=10.0)
    assert fence.stands_by(mine=100, now=10.0) is stands_by


def test_it_is_believed_for_a_lease_and_longer_the_longer_it_has_lived(fence: Fence) -> None:
    fence.hear(200, mine=100, is_directed=True, now=10.0)
    assert fence.stands_by(mine=100, now=13.0)
    assert not fence.stands_by(mine=100, now=13.1)
    fence.hear(200, mine=100, is_directed=True, now=20.0)
    assert fence.stands_by(mine=100, now=30.0)
    assert not fence.stands_by(mine=100, now=30.1)
    fence.hear(200, mine=100, is_directed=True, now=5_000.0)
    assert fence.stands_by(mine=100, now=5_000.0 + MOST_LEASES * LEASE_S)
    assert not fence.stands_by(mine=100, now=5_000.1 + MOST_LEASES * LEASE_S)


def test_who_has_taken_a_greater_epoch_is_outranked_no_more(fence: Fence) -> None:
    fence.hear(200, mine=100, is_directed=True, now=10.0)
    assert not fence.stands_by(mine=201, now=10.0)
    assert fence.rival == 200
