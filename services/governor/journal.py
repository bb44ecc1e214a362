"""The durable log of the fleet's transitions: one SQLite file, written by a thread of its own.

It is in WAL mode with synchronous=FULL: a transition that was written survives the death of the process and that of
the machine, and there are too few of them for the price to be felt. Between a decision and its writing lie
milliseconds, in which a death loses the record of that decision; the members remember it.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from sluice.config import ConfigError
from sluice.control.epochs import LAST_EPOCH
from sluice.degradation.signals import Signals
from sluice.directive import Directive
from sluice.fleet import Transition
from sluice.precision import Precision
from sluice.tier import Level

MOST_WAITING = 1_000
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

logger = logging.getLogger(__name__)


class Journal:
    """Opened before anything is served; from then on its own thread alone touches the file.

    `epoch` is greater than any that was ever taken from the file, and `epoch_at_least` that; it was kept before it is
    told. `past` are the transitions that were found. Raises ConfigError when `path` cannot be opened, or holds
    something else.
    """

    def __init__(self, path: Path, *, epoch_at_least: int, most: int, epoch_at_most: int = LAST_EPOCH) -> None:
        self._path = path
        self._most = most
        self._epoch_at_most = epoch_at_most
        self._waiting: queue.Queue[Transition | int | None] = queue.Queue(MOST_WAITING)
        self._is_broken = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            with self._connection:
                self._connection.executescript(SCHEMA)
                if "precision" not in {row[1] for row in self._connection.execute("PRAGMA table_info(transitions)")}:
                    self._connection.execute(ADDED)
            self.past = self._read()
            self.epoch = self._keep_epoch(epoch_at_least)
        except (OSError, sqlite3.Error, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"governor.journal: {path} cannot be used, move it away or name another: {error}"
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def write(self, record: Transition | int) -> None:
        """Have a transition, or an epoch that was taken, written soon.

        Never waits; what a full queue does not take is lost, and said to be.
        """
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            logger.error("a record was not written", extra={"record": str(record)})  # noqa: TRY400

    def close(self) -> None:
        """Write what waits and close the file."""
        self._waiting.put(None)
        self._thread.join()
        self._connection.close()

    def _write_all(self) -> None:
        while (record := self._waiting.get()) is not None:
            try:
                if isinstance(record, int):
                    self._keep_epoch(record)
                else:
                    self._insert(record)
                self._is_broken = False
            except sqlite3.Error as error:
                # A full disk must not cost the fleet its governor.
                if not self._is_broken:
                    logger.error("the journal cannot be written", extra={"path": str(self._path), "why": str(error)})  # noqa: TRY400
                self._is_broken = True

    def _keep_epoch(self, at_least: int) -> int:
        with self._connection:
            # Two governors may share the file; each takes an epoch of its own.
            self._connection.execute("BEGIN IMMEDIATE")
            row = self._connection.execute("SELECT epoch FROM epochs").fetchone()
            kept = int(row[0]) if row else 0
            epoch = max(at_least, kept + 1 if kept < self._epoch_at_most else 0)
            self._connection.execute("DELETE FROM epochs")
            self._connection.execute("INSERT INTO epochs VALUES (?)", (str(epoch),))
        return epoch

    def _insert(self, transition: Transition) -> None:
        with self._connection:
            cursor = self._connection.execute(
                f"INSERT INTO transitions ({COLUMNS}) VALUES ({PLACES})",  # noqa: S608  a constant
                _row(transition),
            )
            oldest = (cursor.lastrowid or 0) - self._most
            self._connection.execute("DELETE FROM transitions WHERE id <= ?", (oldest,))

    def _read(self) -> list[Transition]:
        query = f"SELECT {COLUMNS} FROM transitions ORDER BY id DESC LIMIT ?"  # noqa: S608  a constant
        rows = self._connection.execute(query, (self._most,)).fetchall()
        return [_transition(row) for row in reversed(rows)]


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


def _transition(row: tuple[str, str, str, str, str, float, float, float, float, str, str, str]) -> Transition:
    at, epoch, revision, before, levels, offload, lighten, admit, lease_s, reason, signals, precision = row
    directive = Directive(
        epoch=int(epoch),
        revision=int(revision),
        levels=_levels(levels),
        offload_share=offload,
        lighten_share=lighten,
        admit_scale=admit,
        precision=Precision[precision.upper()],
        lease_s=lease_s,
        reason=reason,
    )
    return Transition(
        at=datetime.fromisoformat(at),
        before=_levels(before),
        directive=directive,
        signals=Signals(**json.loads(signals)),
    )


def _names(levels: tuple[Level, ...]) -> str:
    return ",".join(level.name.lower() for level in levels)


def _levels(names: str) -> tuple[Level, ...]:
    return tuple(Level[name.upper()] for name in names.split(",") if name)
