"""A plan says which constructs a message holds and which intent is left standing when they are all read.

Each construct adds one to the message's complexity. Listing options and then pointing at one by its place are two
constructs, as are a condition and the circumstance that settles it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

MAX_COMPLEXITY = 7
CORES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "contrast": ("contrast",),
    "double_negation": ("double_negation",),
    "offer": ("offer",),
    "options": ("options", "ordinal"),
    "condition": ("condition", "circumstance"),
}
"""How the request is put, and the constructs that this takes."""
MENTIONS = ("negation", "resolved", "reported", "deferred")
"""Sentences that name another intent only to rule it out."""
ASIDES = ("background", "venting")
"""Sentences without any intent."""
MANNERS = ("typos", "code_switch")
"""How the message is written."""
_CORE_WEIGHTS = {"plain": 2, "contrast": 2, "double_negation": 1, "offer": 2, "options": 4, "condition": 3}
_MAX_UPDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one message is made of; `complexity` is the number of its constructs."""

    core: str
    updates: tuple[str, ...]
    """Changes of mind after the request, in order.

    `correction` and `repick` put another intent in force, `revert` takes the last change back, `redo` makes that
    change after all, and `restore` returns to the first request.
    """
    extras: tuple[str, ...]
    """Mentions, asides and manners, each at most once."""

    @property
    def constructs(self) -> tuple[str, ...]:
        """The names of all constructs, one for each point of complexity."""
        return CORES[self.core] + self.updates + self.extras

    @property
    def complexity(self) -> int:
        """The number of constructs, 0 to 7."""
        return len(self.constructs)


def draw(rng: Random, complexity: int) -> Plan:
    """Returns a plan with exactly `complexity` constructs (0 to 7); raises ValueError outside of that range."""
    if not 0 <= complexity <= MAX_COMPLEXITY:
        raise ValueError(f"complexity {complexity} is outside 0..{MAX_COMPLEXITY}; ask for a number in between")
    affordable = [name for name, constructs in CORES.items() if len(constructs) <= complexity]
    core = rng.choices(affordable, [_CORE_WEIGHTS[name] for name in affordable])[0]
    left = complexity - len(CORES[core])
    updates = _draw_updates(rng, core, min(left, _MAX_UPDATES, rng.randint(left // 3, left)))
    extras = rng.sample(MENTIONS + ASIDES + MANNERS, left - len(updates))
    return Plan(core=core, updates=updates, extras=tuple(extras))


def _draw_updates(rng: Random, core: str, count: int) -> tuple[str, ...]:
    updates: list[str] = []
    for _ in range(count):
        kinds = ["correction"]
        if core == "options":
            kinds.append("repick")
        if updates and updates[-1] in ("correction", "repick"):
            kinds += ["revert", "revert"]
        if len(updates) > 1 and updates[-1] != "restore":
            kinds.append("restore")
        if updates and updates[-1] == "revert":
            kinds.append("redo")
        updates.append(rng.choice(kinds))
    return tuple(updates)
