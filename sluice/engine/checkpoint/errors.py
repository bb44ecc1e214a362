"""What is wrong with a checkpoint, said by the name of the file at fault."""

from __future__ import annotations

from pathlib import Path

import torch

from sluice.domain.errors import InvalidRequest

# Whether an error of torch's means that memory does not suffice.


# The CPU's allocator has no error of its own.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the host, had no room: torch has then allocated nothing, and goes on as before."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_ALLOCATOR in str(error)


NAN_LOGITS = "the model computed no number for this text; its precision may be too low"
"""Said of a text whose output is not finite: half precision overflowed, and any answer would be a guess."""
_LONGEST = 300


def checkpoint_error(path: Path, name: str, problem: str) -> InvalidRequest:
    """The error for file `name` of the checkpoint directory `path`; `problem` goes on the sentence it begins."""
    return InvalidRequest(f"{path / name} {problem}", field="checkpoint")


def one_line(error: Exception) -> str:
    """What a library said, on one line of at most 300 characters."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
