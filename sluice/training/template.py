"""A template is a line of text with choices: `(a|b)` takes one, `[a]` may be left out, `{slot}` is filled by name.

Groups and slots may stand inside groups. Parsing is done once per line, expansion many thousand times.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

_TOKEN = re.compile(r"[()\[\]|]|[^()\[\]|]+")
_SLOT = re.compile(r"\{(\w+)\}")
_BLANK = "(?:(?<= )| )"
"""Around a choice that was left out stand two blanks, of which expansion makes one."""

Fill = Callable[[str], str]
"""Returns the text of a slot by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One parsed line: a run of texts and of choices between templates."""

    parts: tuple[str | tuple[Template, ...], ...]

    def expand(self, rng: Random, fill: Fill) -> str:
        """Returns the line with every choice taken by `rng` and every slot filled, single-spaced."""
        return " ".join(_SLOT.sub(lambda match: fill(match[1]), self._choose(rng)).split())

    def slots(self) -> frozenset[str]:
        """The names of all slots, those inside of choices too."""
        own = frozenset(name for part in self.parts if isinstance(part, str) for name in _SLOT.findall(part))
        return own.union(*(one.slots() for part in self.parts if not isinstance(part, str) for one in part))

    def pattern(self, slot: Callable[[str], str]) -> str:
        """Returns a regular expression for whatever the line expands to; `slot` gives that of a slot by its name."""
        return "".join(
            self._literal(part, slot) if isinstance(part, str) else f"(?:{'|'.join(one.pattern(slot) for one in part)})"
            for part in self.parts
        )

    def _literal(self, part: str, slot: Callable[[str], str]) -> str:
        pieces = enumerate(_SLOT.split(part))
        return "".join(slot(piece) if at % 2 else re.escape(piece).replace(r"\ ", _BLANK) for at, piece in pieces)

    def _choose(self, rng: Random) -> str:
        chosen = (part if isinstance(part, str) else rng.choice(part)._choose(rng) for part in self.parts)  # noqa: SLF001
        return "".join(chosen)


_NOTHING = Template(parts=())


@cache
def parse(line: str) -> Template:
    """Returns the parsed line; raises ValueError when a bracket has no partner."""
    pieces = _TOKEN.findall(line)
    alternatives, end = _parse_until(pieces, 0, closing="")
    if end != len(pieces) or len(alternatives) != 1:
        raise ValueError(f"unbalanced brackets or a stray | in {line!r}; write (a|b), [a] or {{slot}}")
    return alternatives[0]


def _parse_until(pieces: list[str], at: int, *, closing: str) -> tuple[tuple[Template, ...], int]:
    alternatives: list[Template] = []
    parts: list[str | tuple[Template, ...]] = []
    while at < len(pieces) and pieces[at] not in (")", "]"):
        piece = pieces[at]
        at += 1
        if piece == "|":
            alternatives.append(Template(parts=tuple(parts)))
            parts = []
        elif piece in ("(", "["):
            inner, at = _parse_until(pieces, at, closing=")" if piece == "(" else "]")
            at += 1
            parts.append(inner if piece == "(" else (*inner, _NOTHING))
        else:
            parts.append(piece)
    if closing and (at >= len(pieces) or pieces[at] != closing):
        raise ValueError(f"a bracket in {''.join(pieces)!r} has no {closing!r}")
    return (*alternatives, Template(parts=tuple(parts))), at
