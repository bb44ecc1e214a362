"""What is wrong with a checkpoint, said by the name of the file at fault."""

from __future__ import annotations

from pathlib import Path

from sluice.domain.errors import InvalidRequest

NO_NUMBER = "the model computed no number for this text; its precision may be too low"
"""Said of a text whose output is not finite: half precision overflowed, and any answer would be a guess."""
_LONGEST = 300


def fault(path: Path, name: str, problem: str) -> InvalidRequest:
    """The error for file `name` of the checkpoint directory `path`; `problem` goes on the sentence it begins."""
    return InvalidRequest(f"{path / name} {problem}", field="checkpoint")


def one_line(error: Exception) -> str:
    """What a library said, on one line of at most 300 characters."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
