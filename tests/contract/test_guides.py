"""What the guides for contributors name is there: files, folders, and the names in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ("CONTRIBUTING.md", "SECURITY.md", "docs/glossary.md")
FOLDERS = ("benchmarks", "deploy", "docs", "models", "protos", "services", "sluice", "tests", "tools")
# The glossary writes the router's own folder short.
SHORT = {"router/": "services/router/"}


def quoted(guide: str) -> list[str]:
    """What stands between backticks, code blocks aside."""
    text = re.sub(r"^```.*?^```", "", (ROOT / guide).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


def path_of(name: str) -> Path | None:
    """The file or folder that `name` names; None if it is no path of the repository."""
    for short, long in SHORT.items():
        name = long + name.removeprefix(short) if name.startswith(short) else name
    return ROOT / name if name.split("/")[0] in FOLDERS and "/" in name and "*" not in name else None


def placed() -> Iterator[tuple[str, str]]:
    """Each name that the glossary says is in a file, and that file."""
    for line in (ROOT / "docs/glossary.md").read_text(encoding="utf-8").splitlines():
        for names, path in re.findall(r"((?:`\w+`, )*`\w+`) in `([^`]+\.py)`", line):
            for name in re.findall(r"\w+", names):
                yield name, path


@pytest.mark.parametrize("guide", GUIDES)
def test_every_path_that_a_guide_names_exists(guide: str) -> None:
    paths = [(name, path) for name in quoted(guide) if (path := path_of(name)) is not None]
    assert len(paths) > 5
    assert [name for name, path in paths if not path.exists()] == []


def test_every_name_in_the_glossary_is_defined_where_it_says() -> None:
    found = list(placed())
    assert len(found) > 30
    missing = []
    for name, file in found:
        path = path_of(file)
        if path is None or not re.search(rf"^(class |def |async def )?{name}\b", path.read_text(), re.MULTILINE):
            missing.append(f"{name} in {file}")
    assert missing == []
