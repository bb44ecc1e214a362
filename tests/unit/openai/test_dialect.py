"""A prompt in the words of each kind of server."""

from __future__ import annotations

import json

import pytest

from sluice.domain.errors import InvalidRequest
from sluice.engine.openai.request_body import Capabilities, body_of
from tests.unit.openai.writing import prompt, server_at

SERVER = server_at("http://127.0.0.1:1/v1", max_tokens=100)
VLLM = Capabilities(stream_options=True, top_k=True, seed=True)
TRANSFORMERS = Capabilities(stream_options=True, seed=True, generation_config=True)
PLAIN = Capabilities()


@pytest.mark.parametrize("dialect", [VLLM, TRANSFORMERS, PLAIN])
def test_the_most_probable_tokens_need_no_words_about_sampling(dialect: Capabilities) -> None:
    body = body_of(prompt(top_k=5, top_p=0.5, seed=1), SERVER, dialect)
    assert body.keys() - {"stream_options"} == {"model", "prompt", "max_tokens", "stream", "temperature"}
    assert body["temperature"] == 0


def test_sampling_is_said_in_full_lest_the_models_own_settings_decide() -> None:
    body = body_of(prompt(temperature=0.5), SERVER, VLLM)
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.5, 1.0, -1)
    assert "seed" not in body
    body = body_of(prompt(temperature=0.5, top_p=0.9, top_k=7, seed=3), SERVER, VLLM)
    assert (body["top_p"], body["top_k"], body["seed"]) == (0.9, 7, 3)


def test_transformers_is_told_of_sampling_by_a_generation_config() -> None:
    body = body_of(prompt(temperature=0.5, top_k=7), SERVER, TRANSFORMERS)
    assert "top_k" not in body
    assert json.loads(body["generation_config"]) == {"do_sample": True, "temperature": 0.5, "top_p": 1.0, "top_k": 7}
    body = body_of(prompt(temperature=0.5), SERVER, TRANSFORMERS)
    assert json.loads(body["generation_config"])["top_k"] == 0


@pytest.mark.parametrize("field", ["top_k", "seed"])
def test_what_a_server_cannot_be_told_is_refused_by_its_name(field: str) -> None:
    with pytest.raises(InvalidRequest, match=field) as caught:
        body_of(prompt(temperature=0.5, **{field: 1}), SERVER, PLAIN)
    assert caught.value.field == field
    assert "top_k" not in body_of(prompt(temperature=0.5), SERVER, PLAIN)


def test_what_would_not_be_heeded_and_what_a_server_may_die_of_are_not_said() -> None:
    dialect = Capabilities(generation_config=True, samples=False)
    assert body_of(prompt(), SERVER, dialect)["temperature"] == 0
    with pytest.raises(InvalidRequest, match="temperature") as caught:
        body_of(prompt(temperature=0.5), SERVER, dialect)
    assert caught.value.field == "temperature"
    with pytest.raises(InvalidRequest, match="nothing to go on from") as caught:
        body_of(prompt(text=""), SERVER, dialect)
    assert caught.value.field == "prompt"


@pytest.mark.parametrize("seed", [0, 1, (1 << 31) - 1, 1 << 31, (1 << 64) - 1])
def test_every_seed_is_one_that_all_servers_take(seed: int) -> None:
    said = body_of(prompt(temperature=1.0, seed=seed), SERVER, VLLM)["seed"]
    assert 0 <= said < 1 << 31
    assert said == seed or seed >= 1 << 31


def test_no_more_tokens_are_asked_for_than_the_model_can_have() -> None:
    assert body_of(prompt(max_new_tokens=5000), SERVER, PLAIN)["max_tokens"] == 99
    assert body_of(prompt(max_new_tokens=5), SERVER, PLAIN)["max_tokens"] == 5
