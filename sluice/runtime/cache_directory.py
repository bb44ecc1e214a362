"""Where a worker keeps what it made for itself, also for a user who has no home directory or may not write to it."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def cache_directory(configured: str) -> Iterator[str]:
    """The directory that the setting `cache` means, as an absolute or relative path without "~".

    A container often runs under an arbitrary user id, which has no entry in passwd, no HOME, or "/" as its home. A
    directory below such a home is replaced by one of this user's below the system's temporary directory, which later
    starts find again; where somebody else has taken its name, by one that is removed in the end. A directory that is
    named in full is taken as it is, whether it can be written or not.
    """
    found = _below_home(configured)
    if found is not None:
        yield found
        return
    private = Path(tempfile.gettempdir()) / f"sluice-cache-{os.geteuid()}"
    if _is_private(private):
        _warn(configured, str(private))
        yield str(private)
        return
    with tempfile.TemporaryDirectory(prefix="sluice-cache-") as directory:
        _warn(configured, directory)
        yield directory


def _below_home(configured: str) -> str | None:
    if not configured.startswith("~"):
        return configured
    try:
        directory = Path(configured).expanduser()
        directory.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):
        return None
    return str(directory) if os.access(directory, os.W_OK | os.X_OK) else None


def _is_private(directory: Path) -> bool:
    """Whether `directory` is ours alone, made if need be: what torch compiles lies there and is run."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077 == 0


def _warn(configured: str, directory: str) -> None:
    logger.warning(
        "the cache is temporary because the user has no home directory that can be written; set the key cache",
        extra={"cache": configured, "directory": directory},
    )
