"""A customer's mail as the agent has to understand it: what is wanted, and the details that an answer can take up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sluice.training.grammar import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail; `details` are its values by slot, such as `order` or `amount`."""

    text: str
    intent: str
    """One of the messages' labels, or the topic of a mail that is about no order."""
    language: str
    details: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    """Which of the reasons it gives, if any."""
    complexity: int = 0
    """That of the message it is; 0 for a story and for small talk."""

    @classmethod
    def of(cls, message: Message) -> Mail:
        """The mail that a message is; its details must be known."""
        if message.details is None:
            raise ValueError(f"{message.text!r} speaks of its intent more than once; take another message")
        return cls(
            text=message.text,
            intent=message.label,
            language=message.language,
            details=message.details,
            complexity=message.complexity,
        )
