"""The durable log of the fleet's transitions, written by a thread of its own.

A governor needs no journal to direct, so nothing about it is fatal. While the file cannot be used, at the start or
later, records are kept in memory, and an error in the log says so; they are written as soon as the file can be used
again. Between a decision and its writing lie milliseconds, in which a death loses the record of that decision; the
members remember it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from services.governor.journal_file import JournalFile, read_only
from sluice.control.epochs import LAST_EPOCH, resumed_epoch
from sluice.control.fleet import Transition
from sluice.runtime.logging import LimitedLog

logger = logging.getLogger(__name__)


# The changes of the levels that this governor knows of, oldest first. Bounded; a journal keeps them over a death.


class TransitionLog:
    """`recorded` counts all that were ever added: what a reader has seen up to."""

    def __init__(self, past: Iterable[Transition] = (), *, most: int) -> None:
        self._kept = deque(past, maxlen=most)
        self.recorded = len(self._kept)

    def add(self, transition: Transition) -> None:
        """The newest."""
        self._kept.append(transition)
        self.recorded += 1

    def last(self, count: int) -> list[Transition]:
        """At most the newest `count`, oldest first."""
        kept = len(self._kept)
        return list(islice(self._kept, max(0, kept - count), kept))

    def since(self, seen: int) -> list[Transition]:
        """Those that were added after `recorded` was `seen`, as far as they are still kept."""
        return self.last(self.recorded - seen)


MOST_WAITING = 10_000
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
# How often an outage that goes on is told of again.
REMIND_S = 60.0
LAST_WRITE_S = 10.0


class TransitionStore:
    """Opened before anything is served; from then on its own thread alone touches the file.

    `epoch` is at least `epoch_at_least`, and greater than any that was ever taken from the file and is not beyond
    `epoch_at_most`; it was kept before it is told, if the file could be written. `past` are the transitions found.
    """

    def __init__(self, path: Path, *, epoch_at_least: int, most: int, epoch_at_most: int = LAST_EPOCH) -> None:
        self._path = path
        self._most = most
        self._latest = epoch_at_most
        self._log = LimitedLog(logger, interval_s=REMIND_S)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Transition]] = deque()
        self._number = 0
        self._epoch_due: int | None = None
        self._is_closing = False
        self._is_broken = False
        self._file: JournalFile | None = None
        self.past, self.epoch = self._start(epoch_at_least)
        self._epoch_kept = self.epoch
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many transitions are not in the file yet."""
        with self._changed:
            return len(self._waiting)

    def write(self, record: Transition | int) -> None:
        """Have a transition, or an epoch that was taken, written soon.

        Never waits. When `MOST_WAITING` wait already the oldest is lost, and that is said.
        """
        with self._changed:
            if isinstance(record, int):
                self._epoch_due = record
            else:
                self._number += 1
                self._waiting.append((self._number, record))
                if len(self._waiting) > MOST_WAITING:
                    self._waiting.popleft()
                    self._log.error("a record was not written", path=str(self._path), most=MOST_WAITING)
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, if the file can be used, and close it."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(LAST_WRITE_S)
        if lost := self.waiting:
            logger.error("the journal ends without its last records", extra={"path": str(self._path), "lost": lost})

    def _start(self, fresh: int) -> tuple[list[Transition], int]:
        try:
            self._file = JournalFile(self._path, most=self._most)
            return self._file.past, self._file.keep_epoch(fresh, latest=self._latest)
        except (OSError, sqlite3.Error) as error:
            self._tell(error)
            past, kept = ([], None) if self._file is None else (self._file.past, None)
            self._drop_file()
            if not past:
                past, kept = read_only(self._path, most=self._most)
            self._epoch_due = resumed_epoch(kept, fresh, latest=self._latest)
            return past, self._epoch_due

    def _write_all(self) -> None:
        retry_s = FIRST_RETRY_S
        was_closing = False
        while self._await_work(retry_s):
            try:
                self._follow_file()
                self._write_what_waits()
            except (OSError, sqlite3.Error) as error:
                self._tell(error)
                self._drop_file()
                # A file that was opened anew may be good; beyond that nobody waits for a program that ends.
                if self._is_closing and was_closing:
                    break
                was_closing = self._is_closing
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            if self._is_broken:
                self._is_broken = False
                # Another outage is told of at once, however soon it comes.
                self._log = LimitedLog(logger, interval_s=REMIND_S)
                logger.warning("the journal is written again", extra={"path": str(self._path)})
        self._drop_file()

    def _await_work(self, retry_s: float) -> bool:
        """Wait until something is to be written, and longer after a failure; returns whether there is anything."""
        with self._changed:
            if self._is_broken:
                until = time.monotonic() + retry_s
                while not self._is_closing and (left_s := until - time.monotonic()) > 0:
                    self._changed.wait(left_s)
            while not self._has_work() and not self._is_closing:
                self._changed.wait()
            return self._has_work()

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._epoch_due is not None

    def _follow_file(self) -> None:
        """Begin a new file in place of one that was moved or deleted, with what that one held."""
        if self._file is None or not self._file.is_taken_away:
            return
        held = self._file.held()
        self._drop_file()
        logger.error("the journal was moved or deleted: a new one is begun", extra={"path": str(self._path)})
        with self._changed:
            # Nothing else is numbered 0, and it stands before all that waits.
            self._waiting.extendleft((0, one) for one in reversed(held))
            self._epoch_due = max(self._epoch_due or 0, self._epoch_kept)

    def _write_what_waits(self) -> None:
        with self._changed:
            batch, epoch = list(self._waiting), self._epoch_due
        if self._file is None:
            self._file = JournalFile(self._path, most=self._most)
        if epoch is not None:
            self._epoch_kept = self._file.keep_epoch(epoch, latest=max(self._latest, epoch))
        if batch:
            self._file.add([transition for _, transition in batch])
        with self._changed:
            if self._epoch_due == epoch:
                self._epoch_due = None
            while batch and self._waiting and self._waiting[0][0] <= batch[-1][0]:
                self._waiting.popleft()

    def _tell(self, error: Exception) -> None:
        self._is_broken = True
        self._log.error(
            "the journal cannot be written", path=str(self._path), why=str(error), kept_in_memory=self.waiting
        )

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
