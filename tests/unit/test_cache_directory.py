"""The cache of a user without a home directory: a temporary one, which goes when the worker does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from sluice.runtime.cache_directory import cache_directory


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of a user whose id is not in passwd, and who has no HOME."""

    def unknown(path: Path) -> Path:
        raise RuntimeError(f"Could not determine home directory of {path}")

    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with cache_directory("~/.cache/sluice") as directory:
        assert directory == str(tmp_path / ".cache" / "sluice")
        assert Path(directory).is_dir()


def test_a_user_without_a_home_gets_a_private_directory_that_the_next_start_finds_again(
    no_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with cache_directory("~/.cache/sluice") as directory:
        assert Path(directory).parent == no_home
        assert Path(directory).stat().st_mode & 0o077 == 0
        (Path(directory) / "profiles").mkdir()
    with cache_directory("~/.cache/sluice") as again:
        assert again == directory
        assert (Path(again) / "profiles").is_dir()
    assert "set the key cache" in caplog.text


@pytest.mark.parametrize("taken_by", ["a file", "a link", "a directory that others may read"])
def test_a_name_that_is_taken_is_not_trusted(no_home: Path, taken_by: str) -> None:
    place = no_home / f"sluice-cache-{os.geteuid()}"
    if taken_by == "a file":
        place.touch()
    elif taken_by == "a link":
        (no_home / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(no_home / "elsewhere")
    else:
        place.mkdir()
        place.chmod(0o755)
    with cache_directory("~/.cache/sluice") as directory:
        assert Path(directory) != place
        assert Path(directory).stat().st_mode & 0o077 == 0
    assert not Path(directory).exists()


def test_a_home_in_which_nothing_can_be_made_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with cache_directory("~/.cache/sluice") as directory:
        assert not directory.startswith(str(tmp_path / "file"))
        (Path(directory) / "kept").touch()


def test_a_directory_named_in_full_is_taken_as_it_is(tmp_path: Path) -> None:
    with cache_directory(str(tmp_path / "not" / "made")) as directory:
        assert directory == str(tmp_path / "not" / "made")
