"""torch's files are zip archives with a sum for every part, which torch itself does not look at."""

from __future__ import annotations

import zipfile
from pathlib import Path


def damaged_part(file: Path) -> str | None:
    """The name of the first part of `file` that is not what was written; None where all are, or it is no archive."""
    if not zipfile.is_zipfile(file):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip()
    except zipfile.BadZipFile:
        return "its list of parts"
