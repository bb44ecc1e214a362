"""`sluice demo` on the shipped models and requests, and every way in which it may be stopped."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.sluice_command import ROOT, Running, assert_all_end, environ, run, running

pytest.importorskip("torch")

pytestmark = [pytest.mark.torch, pytest.mark.timeout(180)]
TIERS = ("full", "light", "quantized")
ROW = re.compile(
    r"^ *(?P<number>\d+)  (?P<text>.+?)  +(?P<label>[a-z_]+) +(?P<mark>[✓✗])  (?P<tier>full|light|quantized) +"
    r"(?P<variant>(?P=tier)-(?:fp32|bf16|int8)) +(?P<worker>[a-z_]+) +(?P<queue>\d+\.\d) +(?P<compute>\d+\.\d)  "
    r"(?P<trace>[0-9a-f]{32})\s*$",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def shown() -> str:
    with running("demo", env=environ()) as demo:
        assert demo.process.stdout is not None
        output = demo.process.stdout.read().decode()
        assert demo.ended() == 0, demo.errors + output
        assert demo.services() == []
        assert "Traceback" not in demo.errors
    return output


def test_every_request_has_a_row_that_says_who_answered_it_and_how_long_it_took(shown: str) -> None:
    rows = list(ROW.finditer(shown))
    assert [int(row["number"]) for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 300
    assert {row["tier"] for row in rows} == set(TIERS)
    assert {row["worker"] for row in rows} == {"gpu_worker", "cpu_worker"}
    assert len({row["trace"] for row in rows}) == len(rows)
    assert all(float(row["compute"]) > 0 for row in rows)
    heads = ["#", "text", "label", "tier", "variant", "worker", "queue ms", "compute ms", "trace id"]
    assert re.split(r"  +", shown.splitlines()[0].strip()) == heads


def test_rows_have_the_texts_of_the_file_in_its_order(shown: str) -> None:
    lines = (ROOT / "examples" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    rows = list(ROW.finditer(shown))
    for row, line in zip(rows, lines, strict=True):
        request = json.loads(line)
        assert " ".join(request["text"].split()).startswith(row["text"].strip().removesuffix("…").rstrip())
        assert (row["label"] == request["label"]) is (row["mark"] == "✓")


def test_a_text_is_written_that_makes_sense_for_the_shop(shown: str) -> None:
    _, _, behind = shown.partition("> I never got my parcel, and now I want my money back.")
    text, _, cost = behind.partition("tokens after")
    assert "refund" in text or "parcel" in text
    assert "full tier" in cost
    assert "ended by stop" in " ".join(cost.split())


def test_the_summary_adds_the_rows_up(shown: str) -> None:
    rows = list(ROW.finditer(shown))
    requests, took_s, rate = re.search(r"^(\d+) requests in ([\d.]+) s, ([\d,]+) per second$", shown, re.M).groups()  # type: ignore[union-attr]
    assert int(requests) == len(rows)
    assert float(took_s) > 0
    assert int(rate.replace(",", "")) > 0
    lines = dict(re.findall(r"^(full|light|quantized|all) +(\d+ .*)$", shown, re.M))
    for tier in (*TIERS, "all"):
        part = [row for row in rows if tier in {row["tier"], "all"}]
        count, accuracy, p50, p99 = re.sub("━+", "", lines[tier]).split()
        right = sum(row["mark"] == "✓" for row in part)
        assert int(count) == len(part)
        assert accuracy == f"{right / len(part):.1%}"
        assert 0 < float(p50) <= float(p99)
    assert float(lines["all"].split()[1].rstrip("%")) >= 90
    assert shown.rstrip().endswith("Every request was answered, and every tier was used. Next: sluice up")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"text": "a", "label": "b"}\n{"text": "a"', "line 2: "),
        (b'{"text": "a"}', "line 1: 'label' is missing, or no text"),
        (b"\xff\xfe", "cannot read"),
        (b"", "is empty"),
    ],
    ids=["truncated", "no-label", "binary", "empty"],
)
def test_a_broken_file_of_requests_is_one_line_and_starts_nothing(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(content)
    ended = run("demo", "--requests", str(file))
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("sluice demo: --requests: ")
    assert complaint in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = run("demo", "--requests", str(tmp_path / "nowhere.jsonl"))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "nowhere.jsonl" in ended.stderr


@contextmanager
def endless(scratch: Path) -> Iterator[Running]:
    """A demo that has more to send than it can in a minute, with its temporary files in `scratch`."""
    requests = scratch / "requests.jsonl"
    requests.write_text('{"text": "where is my parcel?", "label": "order_status"}\n' * 50_000)
    with running("demo", "--requests", str(requests), env=environ(TMPDIR=str(scratch))) as demo:
        yield demo


def until_it_starts(demo: Running, scratch: Path) -> None:
    del scratch
    while len(demo.services()) < 3:
        assert demo.process.poll() is None, demo.errors


def until_it_sends(demo: Running, scratch: Path) -> None:
    while not any('"ready"' in log.read_text() for log in scratch.glob("sluice-*/logs/router.log")):
        assert demo.process.poll() is None, demo.errors
        time.sleep(0.05)
    assert len(demo.services()) == 4


@pytest.mark.parametrize(("moment", "number"), [(until_it_starts, signal.SIGTERM), (until_it_sends, signal.SIGINT)])
def test_a_demo_that_is_stopped_in_the_middle_leaves_nothing_running(
    tmp_path: Path, moment: Callable[[Running, Path], None], number: signal.Signals
) -> None:
    with endless(tmp_path) as demo:
        moment(demo, tmp_path)
        services = demo.services()
        demo.signal(number)
        assert demo.ended() == 130
        assert demo.services() == []
        assert not any(service.is_running() for service in services)
        assert "Traceback" not in demo.errors
        assert list(tmp_path.glob("sluice-*")) == []


def test_even_a_demo_that_is_killed_outright_takes_its_services_with_it(tmp_path: Path) -> None:
    with endless(tmp_path) as demo:
        until_it_starts(demo, tmp_path)
        services = demo.services()
        demo.signal(signal.SIGKILL)
        assert demo.ended() == -signal.SIGKILL
        assert_all_end(services)
