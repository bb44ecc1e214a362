"""The `sluice` command's usage, and `sluice infer` against a mesh that `sluice up` runs."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.e2e.local_mesh import HAS_TORCH, configuration, identity, up
from tests.e2e.sluice_command import Environ, Running, environ, run, running

NOBODY = "127.0.0.1:1"
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="needs the worker extra")


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    models = [identity("light"), identity("quantized")]
    if HAS_TORCH:
        models.append({"model": "support-intent", "tier": "quantized", "checkpoint": "support-intent-quantized"})
    # The tier by class alone: what is worth most by measured times differs on a busy machine.
    router = {"default_model": "echo", "assignment": "preference"}
    return configuration(tmp_path_factory.mktemp("mesh"), router=router, cpu_worker={"models": models})


@pytest.fixture(scope="module")
def mesh(env: dict[str, str]) -> Iterator[Running]:
    with up(Path(env["TMPDIR"]), env) as running_mesh:
        yield running_mesh


def infer(env: Environ, *arguments: str, stdin: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
    ended = run("infer", "--json", *arguments, env=env, stdin=stdin)
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr


def test_help_lists_every_command_with_examples_and_imports_nothing_heavy() -> None:
    ended = run("--help", env=environ(PYTHONPROFILEIMPORTTIME="1"))
    assert ended.returncode == 0
    for name in ("up", "infer", "generate", "top", "load", "plot", "degrade", "demo"):
        assert re.search(rf"^    {name} +\S", ended.stdout, re.M)
        assert re.search(rf"^  sluice {name}\b.* {{2,}}\S", ended.stdout, re.M)
    imported = set(re.findall(r"\| +([\w.]+)$", ended.stderr, re.M))
    assert "sluice.runtime.config" in imported
    assert not imported & {"torch", "transformers", "numpy", "grpc", "rich", "opentelemetry"}


@pytest.mark.parametrize("command", ["up", "infer", "generate", "top", "load", "plot", "degrade", "demo"])
def test_every_command_explains_its_arguments(command: str) -> None:
    ended = run(command, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: sluice {command} [-h]")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nonsense"], "invalid choice: 'nonsense' (choose from"),
        ([], "the following arguments are required: COMMAND"),
        (["infer"], "the following arguments are required: text"),
        (["infer", "hi", "--class", "rude"], "invalid choice: 'rude'"),
        (["infer", "hi", "--priority", "1.5"], "1.5 does not lie between 0 and 1"),
        (["infer", "hi", "--timeout", "0"], "0 is no number of seconds above 0"),
        (["infer", "hi", "--top-k", "few"], "few is no whole number above 0"),
        (["generate"], "the following arguments are required: prompt"),
        (["generate", "hi", "--max-tokens", "5"], "sluice generate: error: unrecognized arguments: --max-tokens 5"),
        (["generate", "hi", "--max-new-tokens", "0"], "0 is no whole number above 0"),
        (["generate", "hi", "--max-new-tokens", str(1 << 32)], "is more than anybody can mean"),
        (["generate", "hi", "--temperature", "-1"], "-1 is no number from 0 on"),
        (["generate", "hi", "--top-p", "0"], "0 is no part; it lies above 0"),
        (["generate", "hi", "--seed", "x"], "x is no whole number from 0"),
        (["degrade"], "say what shall hold, by --level or --precision, or --clear"),
        (["degrade", "--level", "offload", "--share", "0"], "0 is no part; it lies above 0"),
        (["demo", "--max-open", "0"], "0 is no whole number above 0"),
        (["up", "--only", "cook"], "invalid choice: 'cook'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_with_status_2(arguments: list[str], complaint: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert complaint in ended.stderr
    assert ended.stdout == ""


def test_a_text_is_answered_for_people(mesh: Running, env: dict[str, str]) -> None:
    ended = run("infer", "where is my parcel?", env=env)
    assert (ended.returncode, ended.stderr) == (0, "")
    worker = r"cpu_worker@127\.0\.0\.1:\d+/[0-9a-f]{8}"
    line = rf"identity 1\.000  echo/light-fp32 on {worker}; queue .* ms, batch .* ms, compute .* ms\n"
    assert re.fullmatch(line, ended.stdout)


def test_the_router_is_found_by_configuration_or_by_name(mesh: Running, env: dict[str, str]) -> None:
    router = yaml.safe_load(Path(env["SLUICE_CONFIG"]).read_text())["router"]["listen"]
    elsewhere = environ(SLUICE_CONFIG="nowhere.yaml")
    assert run("infer", "hi", "--router", router, env=elsewhere).returncode == 0
    assert run("infer", "hi", env=environ(SLUICE_ROUTER_LISTEN=router)).returncode == 0
    lost = run("infer", "hi", env=elsewhere)
    assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
    assert lost.stderr.startswith("sluice infer: SLUICE_CONFIG: cannot read nowhere.yaml")


def test_texts_from_standard_input_are_answered_in_order_one_object_each(mesh: Running, env: dict[str, str]) -> None:
    lines = [f"text {number}".encode() for number in range(300)]
    lines[7], lines[200] = b"", b"not UTF-8: \xff\xfe"
    status, answers, errors = infer(env, "-", stdin=b"\n".join(lines))
    assert len(answers) == 300
    assert [place for place, one in enumerate(answers) if "error" in one] == [7]
    assert answers[7] == {"error": "invalid-argument", "message": "the text is empty", "field": "text"}
    assert {one["label"] for one in answers if "label" in one} == {"identity"}
    assert (status, errors) == (1, "invalid-argument: the text is empty\n")


def test_an_answer_for_programs_has_every_field(mesh: Running, env: dict[str, str]) -> None:
    status, (answer,), errors = infer(env, "hi")
    assert (status, errors) == (0, "")
    assert (answer["label"], answer["score"], answer["tier"], answer["model"]) == ("identity", 1.0, "light", "echo")
    assert (answer["levels"], answer["degraded_from"], answer["precision"]) == ([], "unspecified", "fp32")
    assert {"queue_ms", "batch_ms", "compute_ms", "variant", "worker", "trace_id", "request_id"} <= set(answer)


@pytest.mark.parametrize(("name", "tier"), [("simple", "light"), ("complex", "full"), ("real_time", "quantized")])
def test_the_class_decides_the_tier(mesh: Running, env: dict[str, str], name: str, tier: str) -> None:
    _, (answer,), _ = infer(env, "hi", "--class", name)
    assert answer["tier"] == tier


def test_a_minimum_tier_is_honoured_or_refused(mesh: Running, env: dict[str, str]) -> None:
    _, answers, _ = infer(env, "hi", "hello", "--class", "real_time", "--minimum-tier", "full")
    assert [answer["tier"] for answer in answers] == ["full", "full"]
    status, (refused,), errors = infer(env, "hi", "--model", "support-intent", "--minimum-tier", "full")
    assert (status, refused["error"]) == (1, "rejected-no-endpoints" if HAS_TORCH else "unknown-model")
    assert refused["message"] in errors


@needs_torch
@pytest.mark.torch
def test_runners_up_are_listed_best_first(mesh: Running, env: dict[str, str]) -> None:
    _, (answer,), _ = infer(env, "please cancel my order", "--model", "support-intent", "--top-k", "3")
    assert len(answer["scores"]) == 3
    assert answer["scores"][0] == [answer["label"], answer["score"]] == ["cancel_order", answer["score"]]
    shown = run("infer", "please cancel my order", "--model", "support-intent", "--top-k", "3", env=env).stdout
    scores = re.findall(r"^    (\d\.\d{3})  (\w+)$", shown, re.M)
    assert [label for _, label in scores] == [label for label, _ in answer["scores"]]


@needs_torch
@pytest.mark.torch
def test_a_text_that_is_too_long_is_refused_or_cut(mesh: Running, env: dict[str, str]) -> None:
    long = "please cancel my order " * 100
    status, (refused,), _ = infer(env, long, "--model", "support-intent")
    assert (status, refused["field"]) == (1, "text")
    status, (answer,), _ = infer(env, long, "--model", "support-intent", "--truncate")
    assert (status, answer["label"]) == (0, "cancel_order")


def test_an_unreachable_router_is_told_with_a_hint() -> None:
    for text in ("hi", "-"):
        ended = run("infer", text, "--router", NOBODY, "--timeout", "5", stdin=b"one\ntwo\n")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("rejected-no-endpoints: the router cannot be reached: ")
        assert ended.stderr.endswith(f"Is a mesh up at {NOBODY}? Start one with: sluice up\n")
        assert ended.stderr.count("sluice up") == 1


def test_who_reads_only_the_beginning_is_not_shown_a_traceback(mesh: Running, env: dict[str, str]) -> None:
    with running("infer", "-", "--json", env=env) as reader:
        assert reader.process.stdin is not None
        assert reader.process.stdout is not None
        reader.process.stdout.close()
        reader.process.stdin.write(b"text\n" * 1000)
        reader.process.stdin.close()
        assert reader.ended() == 1
        assert reader.errors == ""


def test_a_reader_of_standard_input_ends_at_once_by_ctrl_c(mesh: Running, env: dict[str, str]) -> None:
    with running("infer", "-", env=env) as reader:
        # The connection to the router shows that it waits for its first line.
        while not any(one.status == "ESTABLISHED" for one in psutil.Process(reader.process.pid).net_connections()):
            assert reader.process.poll() is None
        reader.signal(signal.SIGINT)
        assert reader.ended() == 130
        assert reader.errors == ""
