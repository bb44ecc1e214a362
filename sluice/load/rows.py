"""Files of one JSON object a line, or CSV with a header, read as objects of one kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sluice.runtime.config import ConfigError

Row = TypeVar("Row", bound=BaseModel)


def read_rows(path: Path, kind: type[Row], *, option: str) -> list[Row]:
    """The rows of `path`, in its order; blank lines and empty cells are passed over.

    Raises ConfigError naming the command-line `option` and the row at fault.
    """
    found: list[Row] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = _table(lines) if path.suffix == ".csv" else _objects(lines)
        found.extend(kind.model_validate(values) for values in rows)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ConfigError(f"{option}: {path}, row {len(found) + 1}: {where}: {first['msg']}") from error
    except OSError as error:
        raise ConfigError(f"{option}: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{option}: {path}, row {len(found) + 1}: {error}") from error
    if not found:
        raise ConfigError(f"{option}: {path} is empty")
    return found


def _objects(lines: Iterable[str]) -> Iterator[Any]:
    return (json.loads(line) for line in lines if line.strip())


def _table(lines: Iterable[str]) -> Iterator[Any]:
    return ({key: value for key, value in row.items() if value} for row in csv.DictReader(lines))
