"""An engine in another process, as it is configured."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.runtime.config import ConfigError, load
from sluice.worker.config import WorkerConfig

SERVER = {"url": "http://127.0.0.1:8000/v1/", "model": "there"}


def configured(openai: Any, *, environ: dict[str, str] | None = None, **more: Any) -> WorkerConfig:
    entry = {"model": "chat", "tier": "full", "openai": openai, **more}
    return load("gpu_worker", WorkerConfig, file={"gpu_worker": {"models": [entry]}}, environ=environ or {})


def complaint(openai: Any, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(openai, **more)
    return str(caught.value)


def test_it_stands_in_place_of_a_checkpoint() -> None:
    (entry,) = configured(SERVER).models
    assert entry.openai is not None
    assert (entry.openai.url, entry.openai.model) == ("http://127.0.0.1:8000/v1", "there")
    assert entry.openai.api_key.get_secret_value() == ""
    either = "gpu_worker.models.0: must have either a checkpoint or an openai server"
    assert complaint(SERVER, checkpoint="c").startswith(either)
    assert complaint(None).startswith(either)


def test_it_has_no_distilled_copy() -> None:
    assert "only a checkpoint gives way to something at level 2" in complaint(SERVER, distilled="copy")


def test_a_key_is_read_from_the_environment_and_never_shown() -> None:
    (entry,) = configured({**SERVER, "api_key_env": "KEY"}, environ={"KEY": "s3cret"}).models
    assert entry.openai is not None
    assert entry.openai.api_key.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(entry) + str(entry) + entry.model_dump_json() + repr(entry.openai.api_key)


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_variable_that_is_not_there_is_named(environ: dict[str, str]) -> None:
    message = complaint({**SERVER, "api_key_env": "KEY"}, environ=environ)
    assert message.startswith("gpu_worker.models.0.openai.api_key_env: must name a variable")
    assert "(got 'KEY')" in message


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000/v1",
        "ftp://127.0.0.1/v1",
        "file:///etc/passwd",
        "http://",
        "http://host:port/v1",
        "http://host:99999/v1",
        "http://me:secret@host/v1",
        "http://host/v1?key=secret",
    ],
)
def test_only_plain_web_addresses_are_taken(url: str) -> None:
    assert complaint({**SERVER, "url": url}).startswith("gpu_worker.models.0.openai.url: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_generations", 0), ("max_tokens", 1), ("silence_timeout_s", 0), ("model", ""), ("key", "x")],
)
def test_a_wrong_value_is_named(key: str, value: Any) -> None:
    assert complaint({**SERVER, key: value}).startswith(f"gpu_worker.models.0.openai.{key}: ")
