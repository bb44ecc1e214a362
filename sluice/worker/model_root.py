"""The model root: the directory under which a worker looks for checkpoints, and outside of which it reads nothing."""

from __future__ import annotations

from pathlib import Path

from sluice.compression.settings import PACKED_SUFFIX
from sluice.domain.errors import InvalidRequest

# Models without files, for tests and benchmarks: one answers at once, the other writes back what it is given.
IDENTITY = "identity"
ECHO = "echo"


class UnknownCheckpoint(InvalidRequest):
    """There is no such directory, or packed file, under the model root."""


def checkpoint_under(root: Path, name: str) -> Path:
    """The checkpoint that `name` means, relative to `root`; `identity` and `echo` are models without files.

    Raises UnknownCheckpoint, or InvalidRequest for a name that is no path or leads out of the root.
    """
    if name in {IDENTITY, ECHO}:
        return Path(name)
    if not name:
        raise InvalidRequest("no checkpoint is named", field="checkpoint")
    root = root.resolve()
    try:
        path = (root / name).resolve()
        is_checkpoint = path.is_dir() or (path.suffix == PACKED_SUFFIX and path.is_file())
    except (ValueError, RuntimeError) as error:
        raise InvalidRequest(f"checkpoint {name!r} is no path: {error}", field="checkpoint") from error
    except OSError as error:
        raise UnknownCheckpoint(f"checkpoint '{name}': {error.strerror}", field="checkpoint") from error
    if not path.is_relative_to(root):
        raise InvalidRequest(f"checkpoint '{name}' leads out of the model root", field="checkpoint")
    if not is_checkpoint:
        problem = f"there is no checkpoint directory, or packed {PACKED_SUFFIX} file, {path}"
        raise UnknownCheckpoint(problem, field="checkpoint")
    return path
