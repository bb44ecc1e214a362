"""The texts that are asked, and the file they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sluice.domain.enums import QueryClass
from sluice.load.rows import read_rows

_CLASSES = {one.label: one for one in QueryClass if one}


def _query_class(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _CLASSES:
            raise ValueError(f"must be one of {', '.join(_CLASSES)}")
        return _CLASSES[value]
    return value


QueryClassName = Annotated[QueryClass, BeforeValidator(_query_class)]
"""A query class, in files by its name."""


class Text(BaseModel):
    """A text to ask, its class if the file says one, and its right label if it is known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: str = Field(min_length=1)
    query_class: QueryClassName = QueryClass.UNSPECIFIED
    label: str = ""


def read_texts(path: Path) -> tuple[Text, ...]:
    """The texts of `path`. Raises ConfigError naming the row at fault."""
    return tuple(read_rows(path, Text, option="--texts"))
