"""A sentence plan names a frame, the intents it speaks of and the values it needs; the speaker puts it into words."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sluice.training.partition import lies_in
from sluice.training.phrasebook import Novelty, Phrasebook
from sluice.training.template import parse
from sluice.training.typing_errors import misspell

_TRIES = 60
_OPENER_SHARE = 0.4


class NoSentence(Exception):
    """No wording of a sentence plan fell into the wanted partition; plan another message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePlan:
    """One sentence before it has words."""

    frame: str
    """The kind of frame; `true` and `false` tell whether the circumstance holds."""
    intent: str | None = None
    """Fills {request}, {vp} and {np}."""
    other: str | None = None
    """Fills {vp2} and {np2}."""
    options: tuple[str, ...] = ()
    """Intents to be listed by {options} and counted by {count}."""
    pick: tuple[int, int] = (0, 0)
    """Which option (from 0) of how many {pick} points at."""
    circumstance: int = 0
    """Which circumstance {if} and the frames `true` and `false` speak of."""
    language: str = "en"
    phrase_language: str = "en"
    """The language of the phrases inside the frame; another one than `language` is switched code."""
    opening: bool = False
    typos: bool = False


class Speaker:
    """Words for sentence plans, drawn from a phrasebook, each falling into one partition."""

    def __init__(self, *, rng: Random, book: Phrasebook, novelty: Novelty, partition: str, label: str) -> None:
        self._rng = rng
        self._book = book
        self._novelty = novelty
        self._partition = partition
        self._label = label
        self.spoken: list[tuple[str, dict[str, str]]] = []
        """Each phrase said so far: its intent, and the values that its slots were given."""
        self._phrases: list[tuple[str, dict[str, str]]] = []

    def say(self, plan: SentencePlan) -> str:
        """Returns a wording; raises NoSentence when the partition holds none that chance finds."""
        for _ in range(_TRIES):
            self._phrases = []
            text = self._word(plan)
            if plan.typos:
                text = misspell(text, self._rng)
            if lies_in(text, self._partition):
                self.spoken += self._phrases
                return text
        raise NoSentence(plan.frame)

    def _option_list(self, intents: tuple[str, ...], language: str) -> str:
        """The intents as options in their order, lettered, numbered or plain."""
        phrases = [self._phrase(intent, "vp", language) for intent in intents]
        style = self._rng.randrange(3)
        if style < 2:
            signs = "abcd" if style == 0 else "1234"
            phrases = [f"({sign}) {phrase}" for sign, phrase in zip(signs, phrases, strict=False)]
        if language == "zh":
            return "，".join(phrases)
        return ", ".join(phrases[:-1]) + f" or {phrases[-1]}"

    def _word(self, plan: SentencePlan) -> str:
        rng = self._rng
        line = self._line(plan)
        text = parse(line).expand(rng, lambda name: self._fill(plan, name))
        if plan.opening and rng.random() < _OPENER_SHARE:
            text = self._frame("opener", plan.language) + text
        if plan.language == "zh":
            return text.replace(", ", "，")
        return text[0].upper() + text[1:] if rng.random() < 0.8 else text

    def _line(self, plan: SentencePlan) -> str:
        if plan.frame in ("true", "false"):
            return self._circumstance(plan, plan.frame)
        return self._frame(plan.frame, plan.language)

    def _fill(self, plan: SentencePlan, name: str) -> str:
        if name in ("request", "vp", "np") and plan.intent is not None:
            return self._switched(plan, self._phrase(plan.intent, name, plan.phrase_language))
        if name in ("vp2", "np2") and plan.other is not None:
            return self._switched(plan, self._phrase(plan.other, name[:2], plan.phrase_language))
        if name == "options":
            return self._option_list(plan.options, plan.phrase_language)
        if name == "count":
            return self._book.count(len(plan.options), language=plan.language)
        if name == "pick":
            index, count = plan.pick
            place = self._book.place(self._rng, index=index, count=count, language=plan.language)
            return self._expand(place, plan.language)
        if name == "if":
            return self._expand(self._circumstance(plan, "if"), plan.language)
        return self._slot(name, plan.language)

    def _switched(self, plan: SentencePlan, phrase: str) -> str:
        return f" {phrase} " if plan.phrase_language != plan.language else phrase

    def _frame(self, kind: str, language: str) -> str:
        return self._book.frame(self._rng, kind=kind, language=language, held_out=self._novelty.frame)

    def _circumstance(self, plan: SentencePlan, kind: str) -> str:
        return self._book.circumstance(self._rng, number=plan.circumstance, kind=kind, language=plan.language)

    def _phrase(self, intent: str, kind: str, language: str) -> str:
        share = self._novelty.live if intent == self._label else self._novelty.other
        line = self._book.phrase(self._rng, intent=intent, language=language, kind=kind, held_out=share)
        values: dict[str, str] = {}
        self._phrases.append((intent, values))

        def fill(name: str) -> str:
            values[name] = self._slot(name, language)
            return values[name]

        return parse(line).expand(self._rng, fill)

    def _expand(self, line: str, language: str) -> str:
        return parse(line).expand(self._rng, lambda name: self._slot(name, language))

    def _slot(self, name: str, language: str) -> str:
        return self._book.slot(self._rng, name=name, language=language, held_out=self._novelty.slot)
