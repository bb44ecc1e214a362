"""Results of a run, read back from the file that `sluice load --json` wrote."""

from __future__ import annotations

import json
from pathlib import Path

from sluice.load.result import SCHEMA
from sluice.plot.series import Results
from sluice.runtime.config import ConfigError


def read_run(path: Path) -> Results:
    """The results in `path`. Raises ConfigError when it holds none, or such as this release cannot read."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise ConfigError(f"{path} holds no results of sluice load --json, schema {SCHEMA}")
    return results
