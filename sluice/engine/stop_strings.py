"""Where a text that is being written ends: before the first of its stop strings, of which nothing is ever sent.

All strings are looked for at once, one step of an automaton for each character, however many and long they are (Aho
and Corasick, Comm. ACM 18, 1975). What comes out does not depend on how the text was cut into pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

_ROOT = 0


class StopStrings:
    """Passes on the text of one writing until a stop string is complete, and holds back what may yet become one.

    Of several strings the one ends the text that is complete first, and the longest of those that are complete at the
    same character. Raises ValueError for a string without characters.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        if "" in strings:
            raise ValueError("an empty stop string would end every text before it begins")
        self._next: list[dict[str, int]] = [{}]
        self._depth = [0]
        self._shorter = [_ROOT]
        self._complete = [0]
        for string in strings:
            self._add(string)
        self._connect()
        self._state = _ROOT
        self._held = ""
        self._found = False

    @property
    def found(self) -> bool:
        """Whether a stop string was complete: the text is at its end."""
        return self._found

    def push(self, text: str) -> str:
        """What may be sent now that `text` was written. Empty after a stop string was found."""
        if self._found:
            return ""
        if not self._next[_ROOT]:
            # There is nothing to look for, as in most texts, and this is asked for each token.
            return text
        known = len(self._held)
        text = self._held + text
        state = self._state
        for place in range(known, len(text)):
            state = self._step(state, text[place])
            if length := self._complete[state]:
                self._found, self._held = True, ""
                return text[: place + 1 - length]
        self._state = state
        sent = len(text) - self._depth[state]
        self._held = text[sent:]
        return text[:sent]

    def flush(self) -> str:
        """What was held back, to be sent when the text ends by itself. Nothing may be pushed after that."""
        held, self._held = self._held, ""
        return held

    def _add(self, string: str) -> None:
        state = _ROOT
        for character in string:
            if character not in self._next[state]:
                self._next[state][character] = len(self._next)
                self._next.append({})
                self._depth.append(self._depth[state] + 1)
                self._shorter.append(_ROOT)
                self._complete.append(0)
            state = self._next[state][character]
        self._complete[state] = len(string)

    def _connect(self) -> None:
        """Find for each state the longest other one that the text has also reached, the shallow states first."""
        waiting = list(self._next[_ROOT].values())
        for state in waiting:
            for character, deeper in self._next[state].items():
                self._shorter[deeper] = self._step(self._shorter[state], character)
                self._complete[deeper] = self._complete[deeper] or self._complete[self._shorter[deeper]]
                waiting.append(deeper)

    def _step(self, state: int, character: str) -> int:
        while state != _ROOT and character not in self._next[state]:
            state = self._shorter[state]
        return self._next[state].get(character, _ROOT)
