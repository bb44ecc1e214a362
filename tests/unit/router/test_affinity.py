"""Which variant a conversation stays with."""

from __future__ import annotations

from services.router.scheduling.decision_cache import SessionAffinity


def test_a_conversation_is_remembered_until_it_has_been_idle_for_too_long() -> None:
    affinity = SessionAffinity(idle_s=10)
    affinity.note("a", "m/light", 0.0)
    assert affinity.variant_of("a", 9.0) == "m/light"
    affinity.note("a", "m/full", 9.0)
    assert affinity.variant_of("a", 18.0) == "m/full"
    assert affinity.variant_of("a", 20.0) == ""
    assert affinity.variant_of("b", 0.0) == ""


def test_the_longest_idle_make_room_for_the_new() -> None:
    affinity = SessionAffinity(most=3)
    for number, name in enumerate("abcab"):
        affinity.note(name, f"v{number}", float(number))
    affinity.note("d", "v5", 5.0)
    assert len(affinity) == 3
    assert [affinity.variant_of(name, 5.0) for name in "abcd"] == ["v3", "v4", "", "v5"]


def test_memory_is_given_back_as_conversations_fall_idle() -> None:
    affinity = SessionAffinity(idle_s=10)
    for number in range(100):
        affinity.note(f"old {number}", "v", 0.0)
    for number in range(50):
        affinity.note(f"new {number}", "v", 20.0)
    assert len(affinity) == 50
