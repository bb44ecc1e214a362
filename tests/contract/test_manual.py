"""The operator's manual and the programs' --help say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.runtime.config import Section, TelemetryConfig
from sluice.runtime.program import help_text
from tools.write_manual import PAGE, SECTIONS, written

ROOT = Path(__file__).parents[2]


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "run: make manual"


@pytest.mark.parametrize("kind", [*SECTIONS.values(), TelemetryConfig])
def test_every_setting_has_a_meaning(kind: type[Section]) -> None:
    for key, field in kind.model_fields.items():
        assert field.description, f"{kind.__name__}.{key} has no docstring"


@pytest.mark.parametrize("name", ["router", "governor", "gpu_worker", "cpu_worker"])
def test_help_lists_every_key_and_starts_nothing(name: str) -> None:
    command = [sys.executable, "-m", f"services.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    for key in SECTIONS[name].model_fields:
        assert f"SLUICE_{name.upper()}_{key.upper()}" in done.stdout


def test_an_argument_that_is_unknown_is_refused_with_the_help() -> None:
    command = [sys.executable, "-m", "services.router", "--port=1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m services.router")
    assert done.stderr.endswith("sluice router: takes no arguments but --help (got --port=1)\n")


def test_help_names_the_default() -> None:
    assert "batch_timeout_ms  (default: 50;" in help_text("router", SECTIONS["router"])


def test_links_between_the_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
