"""What members wrote into their logs, and when."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path


def instants(log: Path, message: str) -> list[float]:
    """The instants, in seconds of the wall clock, of every record of a service's log that says `message`."""
    found = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("message") == message:
            found.append(datetime.fromisoformat(record["time"]).timestamp())
    return found
