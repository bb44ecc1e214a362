"""The grammar turns a plan into a message and works out, while it does so, which intent the message ends with.

The state of a message is a stack of intents: a request lays the first, a change of mind lays another on top, and a
revert takes the top one off; a redo puts that one back, and a restoration lays the first once more. What lies on top
at the end is the label. Mentions never name the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from sluice.training.phrasebook import LANGUAGES, Novelty, Phrasebook
from sluice.training.plan import ASIDES, MENTIONS, Plan
from sluice.training.sentence import SentencePlan, Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A customer's message with its label."""

    text: str
    label: str
    language: str
    constructs: tuple[str, ...]
    details: Mapping[str, str] | None = None
    """The values that the label's phrase was given, by slot; None if the label was put into words more than once."""

    @property
    def complexity(self) -> int:
        """The number of constructs, 0 to 7."""
        return len(self.constructs)

    @property
    def row(self) -> dict[str, object]:
        """What a file of messages says of it."""
        return {"text": self.text, "label": self.label, "complexity": self.complexity, "language": self.language}


class _Draft:
    """The sentence plans of one message while it is laid out, and the stack of intents that they leave."""

    def __init__(self, rng: Random, labels: tuple[str, ...]) -> None:
        self.rng = rng
        self.labels = labels
        self.stack: list[str] = []
        self.undone = ""
        self.options: tuple[str, ...] = ()
        self.core: list[SentencePlan] = []
        self.around: list[SentencePlan] = []

    def other_than(self, *taken: str) -> str:
        return self.rng.choice([label for label in self.labels if label not in taken])

    def request(self, kind: str) -> None:
        intent = self.rng.choice(self.labels)
        if kind == "options":
            self.options = tuple(self.rng.sample(self.labels, self.rng.choices((2, 3, 4), (2, 2, 1))[0]))
            self.core = [SentencePlan(frame="options", options=self.options)]
            self.pick("ordinal")
            return
        self.stack.append(intent)
        other = self.other_than(intent)
        if kind == "condition":
            holds = self.rng.random() < 0.5
            first, second = (intent, other) if holds else (other, intent)
            number = self.rng.randrange(60)
            self.core = [
                SentencePlan(frame="condition", intent=first, other=second, circumstance=number),
                SentencePlan(frame="true" if holds else "false", circumstance=number),
            ]
            return
        self.core = [SentencePlan(frame=kind, intent=intent, other=other)]

    def pick(self, frame: str) -> None:
        free = [index for index, label in enumerate(self.options) if not self.stack or label != self.stack[-1]]
        index = self.rng.choice(free)
        self.stack.append(self.options[index])
        self.core.append(SentencePlan(frame=frame, pick=(index, len(self.options))))

    def update(self, kind: str) -> None:
        if kind == "repick":
            self.pick("repick")
        elif kind == "revert":
            self.undone = self.stack.pop()
            self.core.append(SentencePlan(frame="revert"))
        elif kind in ("redo", "restore"):
            self.stack.append(self.undone if kind == "redo" else self.stack[0])
            self.core.append(SentencePlan(frame=kind))
        else:
            intent = self.other_than(self.stack[-1])
            self.stack.append(intent)
            self.core.append(SentencePlan(frame="correction", intent=intent))

    def lay_around(self, extras: tuple[str, ...]) -> list[SentencePlan]:
        """Puts mentions and asides before and after the request, which stays in one piece."""
        before: list[SentencePlan] = []
        after: list[SentencePlan] = []
        for kind in extras:
            if kind in MENTIONS:
                plan = SentencePlan(frame=kind, other=self.other_than(self.stack[-1]))
            elif kind in ASIDES:
                plan = SentencePlan(frame=kind)
            else:
                continue
            (before if self.rng.random() < 0.5 else after).append(plan)
        return before + self.core + after


def compose(rng: Random, book: Phrasebook, plan: Plan, *, language: str, novelty: Novelty, partition: str) -> Message:
    """Returns the message of a plan; raises NoSentence when the partition holds no wording of one of its sentences."""
    draft = _Draft(rng, book.labels)
    draft.request(plan.core)
    for kind in plan.updates:
        draft.update(kind)
    label = draft.stack[-1]
    speaker = Speaker(rng=rng, book=book, novelty=novelty, partition=partition, label=label)
    sentences = [
        replace(sentence, language=language, phrase_language=language, opening=index == 0)
        for index, sentence in enumerate(draft.lay_around(plan.extras))
    ]
    if "code_switch" in plan.extras:
        _switch_code(rng, sentences)
    if "typos" in plan.extras:
        for index in rng.sample(range(len(sentences)), min(len(sentences), rng.randrange(1, 4))):
            sentences[index] = replace(sentences[index], typos=True)
    text = _join([speaker.say(sentence) for sentence in sentences])
    said = [values for intent, values in speaker.spoken if intent == label]
    details = said[0] if len(said) == 1 else None
    return Message(text=text, label=label, language=language, constructs=plan.constructs, details=details)


def _switch_code(rng: Random, sentences: list[SentencePlan]) -> None:
    """Changes the language of one sentence, or only of the phrase inside it."""
    index = rng.randrange(len(sentences))
    sentence = sentences[index]
    foreign = next(language for language in LANGUAGES if language != sentence.language)
    speaks_of_intent = bool(sentence.intent or sentence.other or sentence.options)
    if speaks_of_intent and sentence.frame != "plain" and rng.random() < 0.6:
        sentences[index] = replace(sentence, phrase_language=foreign)
    else:
        sentences[index] = replace(sentence, language=foreign, phrase_language=foreign)


def _join(sentences: list[str]) -> str:
    text = sentences[0]
    for sentence in sentences[1:]:
        text += sentence if text[-1] in "。？！" else f" {sentence}"
    return text
