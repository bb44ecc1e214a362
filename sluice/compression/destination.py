"""Where the result goes: refused early if it must not be replaced, and put in place whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.checkpoint.task import CONFIG

_FIELD = "output_model"


def check(output: Path, source: Path, *, packed: bool, force: bool, field: str = _FIELD, flag: str = "--force") -> None:
    """Raise InvalidRequest for `field` when `output` is there without `force`, or holds something else.

    With `force`, a file replaces a file, and a checkpoint directory another or an empty one; nothing else is removed.
    `flag` is the option by which a user forces it.
    """
    place, origin = output.resolve(), source.resolve()
    if place == origin or place in origin.parents:
        raise InvalidRequest(f"{output} holds the input", field=field)
    if not output.exists() and not output.is_symlink():
        return
    if not force:
        raise InvalidRequest(f"{output} exists; name another, or add {flag} to replace it", field=field)
    if packed and not output.is_file():
        raise InvalidRequest(f"{output} is no file; {flag} replaces a file by a file", field=field)
    if not packed and not _is_checkpoint(output):
        raise InvalidRequest(f"{output} is no checkpoint directory, and nothing else is replaced", field=field)


@contextmanager
def room(output: Path) -> Iterator[Path]:
    """A folder beside `output`, on the same disk, for what is being made; it is gone afterwards.

    Raises InvalidRequest, field `output_model`, when it cannot be made or written.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".quantize-") as folder:
            yield Path(folder)
    except OSError as error:
        raise InvalidRequest(f"{output} cannot be written: {one_line(error)}", field=_FIELD) from error


def settle(made: Path, output: Path) -> None:
    """Move the file or directory `made` to `output`; what stood there goes once the new one stands."""
    if made.is_file():
        made.replace(output)
        return
    former = made.with_name("former")
    if output.exists():
        output.rename(former)
    made.rename(output)
    shutil.rmtree(former, ignore_errors=True)


def _is_checkpoint(output: Path) -> bool:
    if not output.is_dir() or output.is_symlink():
        return False
    return (output / CONFIG).is_file() or not any(output.iterdir())
