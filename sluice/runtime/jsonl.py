"""Files of texts, as users write them: a text a line, or a JSON object a line; blank lines are passed over.

What is wrong in one is told by file and line, as an InvalidRequest whose field the caller names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sluice.domain.errors import InvalidRequest

Row = TypeVar("Row")
_OBJECT = "{"


def read_texts(file: Path, *, field: str) -> tuple[str, ...]:
    """The texts in `file`: its lines, or the `text` of each JSON object. Raises InvalidRequest as `read_rows` does."""
    return tuple(read_rows(file, lambda values, _: text_of(values, "text"), field=field, plain=str))


def read_rows(
    file: Path,
    row: Callable[[Mapping[str, Any], int], Row],
    *,
    field: str,
    plain: Callable[[str], Row] | None = None,
) -> list[Row]:
    """What `row` makes of each JSON object in `file` and its line's number, which begins at 1.

    Where the first line begins no JSON object, lines are texts, of which `plain`, if it is given, makes rows. Raises
    InvalidRequest when the file cannot be read, a line is no JSON object, `row` raises ValueError or TypeError, whose
    message then becomes part of it, or all lines are blank.
    """
    lines = _lines(file, field=field)
    if plain is not None and not lines[0][1].lstrip().startswith(_OBJECT):
        return [plain(line) for _, line in lines]
    rows = []
    for number, line in lines:
        try:
            rows.append(row(_object(line), number))
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f"{file}, line {number}: {error}", field=field) from error
    return rows


def text_of(values: Mapping[str, Any], key: str) -> str:
    """The text at `key`. Raises TypeError when there is none."""
    value = values.get(key)
    if not isinstance(value, str):
        raise TypeError(f"'{key}' is missing, or no text")
    return value


def _lines(file: Path, *, field: str) -> list[tuple[int, str]]:
    try:
        # Texts may hold what Unicode takes for the end of a line.
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidRequest(f"cannot read {file}: {problem}", field=field) from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise InvalidRequest(f"{file} is empty", field=field)
    return numbered


def _object(line: str) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg}") from error
    if not isinstance(values, dict):
        raise TypeError("is no JSON object")
    return values
