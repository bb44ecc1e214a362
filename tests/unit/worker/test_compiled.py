"""What torch compiles is kept where the worker keeps the rest, unless somebody chose another place."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.gpu_worker.load import PLACE, keep_compiled


@pytest.mark.torch
def test_torch_compiles_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    environ: dict[str, str] = {}
    keep_compiled(str(tmp_path / "sluice"), environ)
    monkeypatch.setenv(PLACE, environ[PLACE])
    place = Path(cache_dir())
    assert place.is_relative_to(tmp_path / "sluice")
    assert place.stat().st_mode & 0o777 == 0o700


def test_what_somebody_chose_stays(tmp_path: Path) -> None:
    environ = {PLACE: "elsewhere"}
    keep_compiled(str(tmp_path), environ)
    assert environ == {PLACE: "elsewhere"}
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_made_is_not_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    environ: dict[str, str] = {}
    keep_compiled(str(file), environ)
    assert environ == {}
