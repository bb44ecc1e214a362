"""The durable log: what was written is read again, in order and bounded, whatever became of the process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.governor import journal as journal_module
from services.governor import journal_file
from services.governor.journal import TransitionStore
from sluice.control.degradation.signals import Signals
from sluice.control.directive import Directive
from sluice.control.fleet import Transition
from sluice.domain.enums import Level, Precision
from tests.unit import strategies as some
from tests.unit.polling import until

ROOT = Path(__file__).parents[3]
MOST = 100


def transition(revision: int) -> Transition:
    directive = Directive(
        epoch=2**64 - 2, revision=revision, levels=(Level.LIGHTEN,), precision=Precision.FP8, reason="memory 0.87"
    )
    return Transition(at=datetime(2026, 1, 1, tzinfo=UTC), before=(), directive=directive, signals=Signals(memory=0.87))


def opened(path: Path, *, at_least: int = 1, most: int = MOST) -> TransitionStore:
    return TransitionStore(path, epoch_at_least=at_least, most=most)


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "journal.db"
    first = opened(path)
    assert first.past == []
    written = [transition(revision) for revision in range(1, 6)]
    for one in written:
        first.write(one)
    first.close()
    again = opened(path)
    assert again.past == written
    again.close()


@settings(max_examples=20)
@given(st.lists(some.transitions, max_size=4))
def test_every_transition_comes_back_as_it_went(written: list[Transition]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        first = opened(path)
        for one in written:
            first.write(one)
        first.close()
        again = opened(path)
        assert again.past == written
        again.close()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    first = opened(tmp_path / "journal.db", most=10)
    for revision in range(1, 36):
        first.write(transition(revision))
    first.close()
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        assert connection.execute("SELECT count(*) FROM transitions").fetchone() == (10,)
    connection.close()
    again = opened(tmp_path / "journal.db", most=10)
    assert [one.directive.revision for one in again.past] == list(range(26, 36))
    again.close()


def test_every_opening_takes_an_epoch_of_its_own_even_if_the_clock_was_set_back(tmp_path: Path) -> None:
    path, epochs = tmp_path / "journal.db", []
    for at_least in (1_000, 1_000, 5, 2_000):
        journal = opened(path, at_least=at_least)
        epochs.append(journal.epoch)
        journal.close()
    assert epochs == [1_000, 1_001, 1_002, 2_000]


def test_an_epoch_that_was_taken_from_another_governor_is_passed_too(tmp_path: Path) -> None:
    first = opened(tmp_path / "journal.db")
    first.write(2**63 + 5)
    first.close()
    again = opened(tmp_path / "journal.db")
    assert again.epoch == 2**63 + 6
    again.close()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 30, b"\xff" * 4096])
def test_a_file_that_is_something_else_is_set_aside_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    journal = opened(path)
    assert journal.past == []
    journal.write(transition(1))
    journal.close()
    (aside,) = tmp_path.glob("journal.db.damaged-*")
    assert aside.read_bytes() == content
    assert [record.message for record in caplog.records] == [
        "the journal cannot be read: it was set aside and a new one is begun"
    ]
    again = opened(path)
    assert again.past == [transition(1)]
    again.close()


def test_a_database_of_another_program_is_set_aside_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE transitions (what TEXT)")
        connection.execute("INSERT INTO transitions VALUES ('mine')")
    journal = opened(path)
    assert (journal.past, journal.epoch) == ([], 1)
    journal.close()
    (aside,) = tmp_path.glob("journal.db.damaged-*")
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT what FROM transitions").fetchall() == [("mine",)]


def test_a_file_that_is_cut_short_keeps_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    first = opened(path, most=1_000)
    written = [transition(revision) for revision in range(1, 301)]
    for one in written:
        first.write(one)
    first.close()
    data = path.read_bytes()
    damaged = bytearray(data)
    # A page in the middle.
    damaged[4096 * 5 : 4096 * 6] = b"\xee" * 4096
    path.write_bytes(bytes(damaged))
    again = opened(path, most=1_000)
    assert 0 < len(again.past) < 300
    assert set(again.past) <= set(written)
    again.write(transition(1_000))
    again.close()
    last = opened(path, most=1_000)
    assert last.past == [*again.past, transition(1_000)]
    last.close()


BAD = {
    "at": "yesterday",
    "epoch": "18446744073709551616",
    "revision": "-1",
    "levels": "offload,panic",
    "before": "9",
    "offload_share": "much",
    "admit_scale": b"\xff",
    "signals": '{"memory": "full"}',
    "reason": b"\xff\xfe",
    "precision": "fp7",
}
DEEP = {"signals": "'" + "[" * 200_000 + "'", "reason": "CAST(x'ff41' AS TEXT)", "before": "CAST(x'c3' AS TEXT)"}


@pytest.mark.parametrize("column", BAD)
def test_a_row_that_cannot_be_read_costs_itself_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    path = tmp_path / "journal.db"
    first = opened(path)
    for revision in range(1, 6):
        first.write(transition(revision))
    first.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE transitions SET {column} = ? WHERE id = 3", (BAD[column],))  # noqa: S608
    again = opened(path)
    rest = [transition(revision) for revision in (1, 2, 4, 5)]
    assert again.past == rest
    again.close()
    (aside,) = tmp_path.glob("journal.db.damaged-*")
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT count(*) FROM transitions").fetchone() == (5,)
    assert len(caplog.records) == 1
    assert vars(caplog.records[0])["rows"] == 1
    last = opened(path)
    assert last.past == rest
    last.close()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("column", DEEP)
def test_a_row_that_not_even_its_parser_bears_costs_itself_only(tmp_path: Path, column: str, number: int) -> None:
    path = tmp_path / "journal.db"
    first = opened(path)
    for revision in range(1, 6):
        first.write(transition(revision))
    first.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE transitions SET {column} = {DEEP[column]} WHERE id = {number}")  # noqa: S608
        connection.execute("UPDATE epochs SET epoch = CAST(x'ff41' AS TEXT)")
    again = opened(path)
    rest = [transition(revision) for revision in range(1, 6) if revision != number]
    assert again.past == rest
    again.write(transition(6))
    again.close()
    last = opened(path)
    assert last.past == [*rest, transition(6)]
    last.close()


@pytest.mark.usefixtures("quick")
def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.db"
    os.mkfifo(path)
    journal = opened(path, at_least=7)
    assert (journal.past, journal.epoch) == ([], 7)
    journal.close()
    assert "no regular file" in vars(caplog.records[0])["why"]


def take_away(path: Path, suffixes: tuple[str, ...], *, moves: bool) -> None:
    for suffix in suffixes:
        own = Path(f"{path}{suffix}")
        if moves:
            own.rename(path.with_name(f"old{suffix}"))
        else:
            own.unlink()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("moves", [True, False], ids=["moved", "deleted"])
@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")], ids=["alone", "all"])
async def test_a_file_that_is_taken_away_while_it_runs_costs_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffixes: tuple[str, ...], *, moves: bool
) -> None:
    path = tmp_path / "journal.db"
    journal = opened(path, at_least=7)
    written = [transition(revision) for revision in range(1, 6)]
    for one in written[:3]:
        journal.write(one)
    await until(lambda: journal.waiting == 0)
    take_away(path, suffixes, moves=moves)
    for one in written[3:]:
        journal.write(one)
    await until(lambda: journal.waiting == 0 and path.exists())
    journal.close()
    assert [record.message for record in caplog.records] == ["the journal was moved or deleted: a new one is begun"]
    again = opened(path)
    assert (again.past, again.epoch) == (written, 8)
    again.close()


@pytest.mark.parametrize("epoch", ["18446744073709551615", "-5", "soon", b"\xff", 1e300])
def test_an_epoch_that_cannot_be_is_replaced(tmp_path: Path, epoch: object) -> None:
    path = tmp_path / "journal.db"
    opened(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE epochs SET epoch = ?", (epoch,))
    for expected in (1_000, 1_001):
        again = TransitionStore(path, epoch_at_least=1_000, epoch_at_most=10**6, most=MOST)
        assert again.epoch == expected
        again.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that tries again soon."""
    monkeypatch.setattr(journal_module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(journal_module, "LONGEST_RETRY_S", 0.05)
    monkeypatch.setattr(journal_file, "BUSY_TIMEOUT_S", 0.02)


@pytest.mark.usefixtures("quick")
async def test_a_place_that_cannot_be_used_is_told_of_and_used_when_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "place"
    place.touch()
    journal = opened(place / "journal.db", at_least=7)
    assert (journal.past, journal.epoch) == ([], 7)
    written = [transition(revision) for revision in range(1, 42)]
    for one in written:
        journal.write(one)
    await asyncio.sleep(0.1)
    assert journal.waiting == 41
    place.unlink()
    await until(lambda: journal.waiting == 0)
    journal.close()
    messages = [record.message for record in caplog.records]
    assert messages == ["the journal cannot be written", "the journal is written again"]
    again = opened(place / "journal.db")
    assert (again.past, again.epoch) == (written, 8)
    again.close()


@pytest.mark.usefixtures("quick")
async def test_a_file_that_fails_while_it_runs_costs_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.db"
    journal = opened(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    written = [transition(revision) for revision in range(1, 42)]
    for one in written:
        journal.write(one)
    await until(lambda: caplog.records)
    assert journal.waiting == 41
    blocker.execute("ROLLBACK")
    blocker.close()
    await until(lambda: journal.waiting == 0)
    journal.close()
    assert caplog.records[0].message == "the journal cannot be written"
    again = opened(path)
    assert again.past == written
    again.close()


def test_a_table_that_is_dropped_while_it_runs_costs_no_record(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.db")
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as blocker:
        blocker.execute("DROP TABLE transitions")
    written = [transition(revision) for revision in range(3)]
    for one in written:
        journal.write(one)
    journal.close()
    again = opened(tmp_path / "journal.db")
    assert again.past == written
    again.close()


def test_a_writer_that_is_stuck_is_not_waited_for_and_keeps_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "MOST_WAITING", 5)
    journal = opened(tmp_path / "journal.db")
    blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    for revision in range(20):
        journal.write(transition(revision))
    assert "a record was not written" in {record.message for record in caplog.records}
    blocker.execute("ROLLBACK")
    blocker.close()
    journal.close()
    again = opened(tmp_path / "journal.db")
    assert again.past[-5:] == [transition(revision) for revision in range(15, 20)]
    again.close()


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from services.governor.journal import TransitionStore
from tests.unit.governor.test_journal import transition
journal = TransitionStore(Path({path!r}), epoch_at_least=1, most=1000)
for revision in range(1, 100000):
    journal.write(transition(revision))
    while journal.waiting:
        time.sleep(0.0001)
    print(revision, flush=True)
"""


def test_a_process_that_is_killed_in_the_middle_of_writing_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    script = WRITER.format(root=str(ROOT), path=str(path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        written = 0
        while written < 20:
            written = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split()
        process.wait()
    written = int(rest[-1]) if rest and rest[-1].isdigit() else written
    journal = opened(path, most=1000)
    revisions = [one.directive.revision for one in journal.past]
    # The last one that was announced may still have been on its way to the disk.
    assert len(revisions) >= written - 1
    assert revisions == list(range(1, len(revisions) + 1))
    assert journal.past[-1] == transition(len(revisions))
    assert journal.epoch == 2
    journal.close()


async def test_writing_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.db")
    blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    for revision in range(50):
        journal.write(transition(revision))
        await asyncio.sleep(0)
    assert ticks >= 49
    ticking.cancel()
    blocker.execute("ROLLBACK")
    blocker.close()
    await asyncio.to_thread(journal.close)
    again = opened(tmp_path / "journal.db")
    assert len(again.past) == 50
    again.close()


OLDER = """
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, epoch TEXT NOT NULL, revision TEXT NOT NULL,
    before TEXT NOT NULL, levels TEXT NOT NULL, offload_share REAL NOT NULL, lighten_share REAL NOT NULL,
    admit_scale REAL NOT NULL, lease_s REAL NOT NULL, reason TEXT NOT NULL, signals TEXT NOT NULL
);
INSERT INTO transitions VALUES
    (1, '2026-01-01T00:00:00+00:00', '7', '3', '', 'lighten', 0.0, 1.0, 1.0, 3.0, 'memory', '{"memory": 0.87}');
"""


def test_a_journal_of_a_release_that_knew_no_precisions_is_read_and_goes_on(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.executescript(OLDER)
    connection.close()
    first = opened(tmp_path / "journal.db")
    (old,) = first.past
    assert (old.directive.levels, old.directive.precision) == ((Level.LIGHTEN,), Precision.OWN)
    new = transition(9)
    first.write(new)
    first.close()
    again = opened(tmp_path / "journal.db")
    assert again.past == [old, new]
    again.close()
