"""`sluice generate` against a mesh that `sluice up` runs, whose model writes its prompts back."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local_mesh import configuration, up
from tests.e2e.sluice_command import Running, run, running

NOBODY = "127.0.0.1:1"
CHAT = {"model": "chat", "checkpoint": "echo"}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return configuration(
        tmp_path_factory.mktemp("mesh"),
        router={"default_model": "chat", "max_text_bytes": 1 << 20},
        gpu_worker={"models": [{**CHAT, "tier": "full"}]},
        cpu_worker={"models": [{**CHAT, "tier": "light"}]},
    )


@pytest.fixture(scope="module")
def mesh(env: dict[str, str]) -> Iterator[Running]:
    with up(Path(env["TMPDIR"]), env) as running_mesh:
        yield running_mesh


def test_the_text_goes_to_standard_output_and_its_cost_to_standard_error(mesh: Running, env: dict[str, str]) -> None:
    ended = run("generate", "where is my parcel?", env=env)
    assert (ended.returncode, ended.stdout) == (0, "where is my parcel?\n")
    line = (
        r"4 tokens after 4 of the prompt in \d+\.\d\d s, [\d.]+ tokens/s, the first after \d+\.\d\d s; ended by stop; "
        r"full tier, chat/full-fp32 on gpu_worker@127\.0\.0\.1:\d+/[0-9a-f]{8}\n"
    )
    assert re.fullmatch(line, ended.stderr)


def test_every_option_reaches_the_model(mesh: Running, env: dict[str, str]) -> None:
    ended = run(
        "generate", "a b c d e f g h", "--model", "chat", "--max-new-tokens", "7", "--temperature", "0.5",
        "--top-p", "0.9", "--top-k", "4", "--seed", "3", "--stop", "nowhere", "--stop", "f", "--priority", "0.9",
        "--minimum-tier", "light", "--request-id", "mine", "--timeout", "20", env=env,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "a b c d e \n")
    assert "6 tokens after 8 of the prompt" in ended.stderr
    cut = run("generate", "a b c d", "--max-new-tokens", "2", env=env)
    assert (cut.stdout, "ended by length" in cut.stderr) == ("a b\n", True)


def test_a_prompt_comes_from_standard_input_whole_and_the_text_goes_through_a_pipe(
    mesh: Running, env: dict[str, str]
) -> None:
    words = [f"word{number}" for number in range(3_000)]
    prompt = "\n".join(words).encode() + b" \xff"
    ended = run("generate", "-", "--max-new-tokens", "5000", env=env, stdin=prompt)
    assert ended.returncode == 0
    assert ended.stdout.split() == [*words, "�"]


def test_programs_get_an_object_a_piece_and_one_about_the_whole(mesh: Running, env: dict[str, str]) -> None:
    ended = run("generate", "where is my parcel?", "--json", env=env)
    *pieces, whole = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "".join(piece["text"] for piece in pieces) == whole["text"] == "where is my parcel?"
    assert pieces[-1]["tokens"] == whole["tokens"] == 4
    assert (whole["finish_reason"], whole["tier"], whole["degraded_from"]) == ("stop", "full", "unspecified")
    assert {"prompt_tokens", "variant", "worker", "trace_id"} <= set(whole)
    refused = run("generate", " ", "--json", env=env)
    assert refused.returncode == 1
    assert json.loads(refused.stdout) == {
        "error": "invalid-argument", "message": "the prompt is empty", "field": "prompt", "tokens": 0,
    }  # fmt: skip


def test_a_refusal_and_an_unreachable_router_are_told_as_infer_tells_them(mesh: Running, env: dict[str, str]) -> None:
    refused = run("generate", "hi", "--minimum-tier", "full", "--model", "nobody", env=env)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "unknown-model: no worker has offered a model named 'nobody'\n"
    lost = run("generate", "hi", "--router", NOBODY, "--timeout", "5")
    assert (lost.returncode, lost.stdout) == (1, "")
    assert lost.stderr.startswith("rejected-no-endpoints: the router cannot be reached: ")
    assert lost.stderr.endswith(f"Is a mesh up at {NOBODY}? Start one with: sluice up\n")


def test_infer_and_generate_keep_to_the_models_that_can(mesh: Running, env: dict[str, str]) -> None:
    ended = run("infer", "hi", "--model", "chat", env=env)
    assert (ended.returncode, ended.stderr) == (
        1,
        "invalid-argument: model 'chat' generates text, and answers only Generate\n",
    )


def test_ctrl_c_ends_the_writing(mesh: Running, env: dict[str, str]) -> None:
    with running("generate", "-", "--max-new-tokens", "30000", env=env) as writer:
        assert writer.process.stdin is not None
        assert writer.process.stdout is not None
        writer.process.stdin.write(b"quite-a-long-word-of-it " * 30_000)
        writer.process.stdin.close()
        # A pipe holds less than the text, so it is in the middle of it.
        assert writer.process.stdout.read(4) == b"quit"
        writer.signal(signal.SIGINT)
        assert writer.ended() == 130
        assert writer.errors == ""


def test_who_reads_only_the_beginning_is_not_shown_a_traceback(mesh: Running, env: dict[str, str]) -> None:
    with running("generate", "-", "--max-new-tokens", "20000", env=env) as writer:
        assert writer.process.stdin is not None
        assert writer.process.stdout is not None
        writer.process.stdout.close()
        writer.process.stdin.write(b"word " * 12_000)
        writer.process.stdin.close()
        assert writer.ended() == 1
        assert writer.errors == ""


def test_help_teaches_by_examples() -> None:
    ended = run("generate", "--help")
    assert ended.stdout.count("sluice generate ") >= 5
    assert "Exit status" in ended.stdout
