"""The journal's file: one SQLite database, opened, repaired and written by one thread at a time.

It is in WAL mode with synchronous=FULL: a transition that was written survives the death of the process and that of
the machine, and there are too few of them for the price to be felt.

A file that cannot be read as a journal is set aside under another name, never deleted, and a new one begins with the
rows that could be read. Single rows that cannot be read are deleted from the file after a copy of it was set aside.
What may pass, as a full disk, a lock or a missing permission, is no damage: it is raised, and may be tried again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from sluice.control.codec import transition_from_proto, transition_to_proto
from sluice.control.degradation.signals import Signals
from sluice.control.directive import Directive
from sluice.control.epochs import LAST_EPOCH, resumed_epoch
from sluice.control.fleet import Transition
from sluice.domain.enums import Level, Precision

BUSY_TIMEOUT_S = 5.0
# Epochs are unsigned numbers of 64 bits, which SQLite's integers are not.
SCHEMA = """
CREATE TABLE IF NOT EXISTS epochs (epoch TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    epoch TEXT NOT NULL,
    revision TEXT NOT NULL,
    before TEXT NOT NULL,
    levels TEXT NOT NULL,
    offload_share REAL NOT NULL,
    lighten_share REAL NOT NULL,
    admit_scale REAL NOT NULL,
    lease_s REAL NOT NULL,
    reason TEXT NOT NULL,
    signals TEXT NOT NULL,
    precision TEXT NOT NULL DEFAULT 'own'
);
"""
# A file of an older release has no such column yet.
ADDED = "ALTER TABLE transitions ADD COLUMN precision TEXT NOT NULL DEFAULT 'own'"
NAMES = (
    *("at", "epoch", "revision", "before", "levels", "offload_share", "lighten_share", "admit_scale"),
    *("lease_s", "reason", "signals", "precision"),
)
COLUMNS, PLACES = ", ".join(NAMES), ", ".join("?" for _ in NAMES)
SELECT = f"SELECT id, {COLUMNS} FROM transitions ORDER BY id DESC LIMIT ?"  # noqa: S608  a constant
INSERT = f"INSERT INTO transitions ({COLUMNS}) VALUES ({PLACES})"  # noqa: S608  a constant
# What SQLite says of a file that is no database, is damaged, or has other tables than ours.
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
# A RecursionError is JSON's of a column that is nested too deep.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

logger = logging.getLogger(__name__)


class JournalFile:
    """An open file. `past` are the newest `most` transitions that were found in it, oldest first.

    Raises OSError or sqlite3.Error, as all of its methods do, while the file cannot be used.
    """

    def __init__(self, path: Path, *, most: int) -> None:
        self._path = path
        self._most = most
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_kind(path)
        try:
            self._connection, self.past = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._connection, self.past = self._begin_anew(str(error))
        self._place = _place_of(path)

    @property
    def is_taken_away(self) -> bool:
        """Whether the file was moved or deleted, so that what is written to it is not found at the next start."""
        return _place_of(self._path) != self._place

    def held(self) -> list[Transition]:
        """The newest transitions of the open file, wherever it is by now, oldest first, as far as they can be read."""
        try:
            return _parsed(self._connection.execute(SELECT, (self._most,)))[0]
        except sqlite3.Error:
            return []

    def keep_epoch(self, fresh: int, *, latest: int) -> int:
        """Take an epoch that is greater than any that was taken from this file and can be one, and at least `fresh`."""
        with self._connection as connection:
            # Two governors may share the file; each takes an epoch of its own.
            connection.execute("BEGIN IMMEDIATE")
            kept = _greatest(row[0] for row in connection.execute("SELECT epoch FROM epochs"))
            epoch = resumed_epoch(kept, fresh, latest=latest)
            connection.execute("DELETE FROM epochs")
            connection.execute("INSERT INTO epochs VALUES (?)", (str(epoch),))
        if kept is not None and kept >= epoch:
            logger.error("the journal's epoch was implausible and is replaced", extra={"found": kept, "taken": epoch})
        return epoch

    def add(self, transitions: Sequence[Transition]) -> None:
        """Write `transitions` behind the others, all or none, and forget the oldest."""
        with self._connection as connection:
            newest = 0
            for transition in transitions:
                newest = connection.execute(INSERT, _row(transition)).lastrowid or 0
            connection.execute("DELETE FROM transitions WHERE id <= ?", (newest - self._most,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _open(self) -> tuple[sqlite3.Connection, list[Transition]]:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        connection.text_factory = _text
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            with connection:
                connection.executescript(SCHEMA)
                if "precision" not in {row[1] for row in connection.execute("PRAGMA table_info(transitions)")}:
                    connection.execute(ADDED)
            past, bad = _parsed(connection.execute(SELECT, (self._most,)))
            if bad:
                self._drop(connection, bad)
        except BaseException:
            connection.close()
            raise
        return connection, past

    def _drop(self, connection: sqlite3.Connection, bad: list[int]) -> None:
        aside = _name_aside(self._path)
        try:
            with closing(sqlite3.connect(aside)) as copy:
                connection.backup(copy)
            with connection:
                connection.executemany("DELETE FROM transitions WHERE id = ?", [(one,) for one in bad])
        except sqlite3.Error as error:
            # They are left out now, and tried again at the next start.
            with suppress(OSError):
                aside.unlink()
            logger.error("rows of the journal cannot be read", extra={"rows": len(bad), "why": str(error)})  # noqa: TRY400
            return
        extra = {"rows": len(bad), "set_aside": str(aside), "path": str(self._path)}
        logger.error("rows of the journal cannot be read: a copy was set aside and they are deleted", extra=extra)

    def _begin_anew(self, why: str) -> tuple[sqlite3.Connection, list[Transition]]:
        found = read_only(self._path, most=self._most)[0]
        aside = _name_aside(self._path)
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        extra = {"path": str(self._path), "set_aside": str(aside), "kept": len(found), "why": why}
        logger.error("the journal cannot be read: it was set aside and a new one is begun", extra=extra)
        self._connection, _ = self._open()
        if found:
            self.add(found)
        return self._connection, found


def read_only(path: Path, *, most: int) -> tuple[list[Transition], int | None]:
    """The transitions and the epoch of a file that cannot be written, as far as they can be read."""
    past: list[Transition] = []
    kept: int | None = None
    try:
        _check_kind(path)
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            connection.text_factory = _text
            with suppress(sqlite3.Error):
                past, _ = _parsed(connection.execute(SELECT, (most,)))
            with suppress(sqlite3.Error):
                kept = _greatest(row[0] for row in connection.execute("SELECT epoch FROM epochs"))
    except (OSError, sqlite3.Error):
        pass
    return past, kept


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is wrong, rather than the moment."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE


def _parsed(rows: Iterable[tuple[object, ...]]) -> tuple[list[Transition], list[int]]:
    """The transitions, oldest first, of rows that come newest first, and the ids of those that are none.

    A file that is damaged in the middle gives what comes before.
    """
    good: list[Transition] = []
    bad: list[int] = []
    try:
        for number, *row in rows:
            try:
                good.append(_transition(row))
            except UNREADABLE:
                bad.append(int(str(number)))
    except sqlite3.DatabaseError:
        if not good:
            raise
    return good[::-1], bad


def _check_kind(path: Path) -> None:
    # SQLite waits for ever for the other end of a pipe.
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file")


def _place_of(path: Path) -> tuple[int, int] | None:
    """Which file `path` leads to now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _text(data: bytes) -> str | bytes:
    """A column's text. Bytes that are none stay bytes, which makes the row, and not the file, unreadable."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _greatest(epochs: Iterable[object]) -> int | None:
    found = []
    for one in epochs:
        with suppress(ValueError):
            found.append(min(max(int(str(one)), 0), LAST_EPOCH))
    return max(found, default=None)


def _name_aside(path: Path) -> Path:
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return path.with_name(f"{path.name}.damaged-{at}")


def _row(transition: Transition) -> tuple[object, ...]:
    directive = transition.directive
    return (
        transition.at.astimezone(UTC).isoformat(),
        str(directive.epoch),
        str(directive.revision),
        _names(transition.before),
        _names(directive.levels),
        directive.offload_share,
        directive.lighten_share,
        directive.admit_scale,
        directive.lease_s,
        directive.reason,
        json.dumps(asdict(transition.signals)),
        directive.precision.label,
    )


def _transition(row: Sequence[object]) -> Transition:
    if any(isinstance(value, bytes) or value is None for value in row):
        raise TypeError("a column is no text and no number")
    at, epoch, revision, before, levels, offload, lighten, admit, lease_s, reason, signals, precision = row
    directive = Directive(
        epoch=int(str(epoch)),
        revision=int(str(revision)),
        levels=_levels(str(levels)),
        offload_share=float(str(offload)),
        lighten_share=float(str(lighten)),
        admit_scale=float(str(admit)),
        precision=Precision[str(precision).upper()],
        lease_s=float(str(lease_s)),
        reason=str(reason),
    )
    read = Transition(
        at=datetime.fromisoformat(str(at)),
        before=_levels(str(before)),
        directive=directive,
        signals=Signals(**json.loads(str(signals))),
    )
    # What cannot be sent to those who watch is no transition either.
    transition_from_proto(transition_to_proto(read))
    return read


def _names(levels: tuple[Level, ...]) -> str:
    return ",".join(level.name.lower() for level in levels)


def _levels(names: str) -> tuple[Level, ...]:
    return tuple(Level[name.upper()] for name in names.split(",") if name)
