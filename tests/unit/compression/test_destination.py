"""An output is replaced only where that was asked for, and only by its like."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.compression.destination import check, room, settle
from sluice.domain.errors import InvalidRequest


def refusal(output: Path, source: Path, *, packed: bool = False, force: bool = False) -> str:
    with pytest.raises(InvalidRequest) as caught:
        check(output, source, packed=packed, force=force)
    assert caught.value.field == "output_model"
    return caught.value.message


def test_an_output_that_is_there_needs_force(tmp_path: Path) -> None:
    (tmp_path / "made.pt").touch()
    assert "add --force" in refusal(tmp_path / "made.pt", tmp_path / "in.pt", packed=True)
    check(tmp_path / "made.pt", tmp_path / "in.pt", packed=True, force=True)
    check(tmp_path / "new", tmp_path / "in.pt", packed=False, force=False)


@pytest.mark.parametrize("force", [True, False])
def test_the_input_is_never_replaced(tmp_path: Path, force: bool) -> None:
    source = tmp_path / "home" / "model" / "original.pt"
    source.parent.mkdir(parents=True)
    source.touch()
    for output in (source, source.parent, tmp_path / "home", tmp_path / "home" / "model" / ".." / "model"):
        assert "holds the input" in refusal(output, source, packed=output.suffix == ".pt", force=force)


def test_force_removes_no_directory_that_is_no_checkpoint(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    check(photographs, tmp_path / "in.pt", packed=False, force=True)
    (photographs / "one.jpg").touch()
    assert "is no checkpoint directory" in refusal(photographs, tmp_path / "in.pt", force=True)
    (photographs / "config.json").touch()
    check(photographs, tmp_path / "in.pt", packed=False, force=True)


def test_files_and_directories_do_not_replace_each_other(tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    (tmp_path / "made.pt").mkdir()
    assert "is no checkpoint directory" in refusal(tmp_path / "made", tmp_path / "in.pt", force=True)
    assert "is no file" in refusal(tmp_path / "made.pt", tmp_path / "in.pt", packed=True, force=True)


def test_a_directory_takes_the_place_of_the_former_one_whole(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "stale").touch()
    with room(output) as folder:
        (folder / "made").mkdir()
        (folder / "made" / "fresh").touch()
        settle(folder / "made", output)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in output.iterdir()] == ["fresh"]


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with room(tmp_path / "deep" / "out") as folder:
            (folder / "made").mkdir()
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="out cannot be written"), room(tmp_path / "file" / "out"):
        pass
