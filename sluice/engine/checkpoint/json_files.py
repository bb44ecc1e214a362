"""A checkpoint's small JSON files, each of which is a table of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sluice.engine.checkpoint.errors import fault, one_line


def read_settings(directory: Path, name: str) -> dict[str, Any]:
    """What file `name` of `directory` says. Raises InvalidRequest, field `checkpoint`, when it is no JSON object."""
    try:
        content = json.loads((directory / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise fault(directory, name, f"cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise fault(directory, name, "is no table of settings")
    return content
