"""What a server understands of the requests that it may be sent, and a prompt in its words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sluice.domain.errors import InvalidRequest
from sluice.worker.execution.generator import GenerationRequest
from sluice.worker.execution.openai_config import OpenAIServer

Body = dict[str, Any]

# vLLM and SGLang repeat the counts in every event, so that a text that breaks off is counted too.
USAGE = {"include_usage": True, "continuous_usage_stats": True}
ALL = -1
# Servers differ in how large a seed may be, and some mean "none" by the largest.
_SEED_BITS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Which fields beyond the common ones a server takes, and whether it samples at all.

    `generation_config` is the one way to sample on transformers' own server, which takes no `top_k` and without it
    ignores `temperature`, unless the model's own settings say that it is sampled from.
    """

    stream_options: bool = False
    top_k: bool = False
    seed: bool = False
    generation_config: bool = False
    samples: bool = True


def path_of(server: OpenAIServer) -> str:
    """Where texts are asked for, below the server's URL."""
    return "chat/completions" if server.chat else "completions"


def body_of(prompt: GenerationRequest, server: OpenAIServer, dialect: Capabilities) -> Body:
    """The JSON of the request that writes on from `prompt`. Its stop strings are not in it: they are ours to find.

    Raises InvalidRequest naming the field that the server cannot be told. An empty prompt is one: a server may die of
    it (transformers' does when it batches continuously).
    """
    if not prompt.text:
        raise InvalidRequest("there is nothing to go on from", field="prompt")
    body: Body = {
        "model": server.model,
        "stream": True,
        "max_tokens": min(prompt.max_new_tokens, server.max_tokens - 1),
        "temperature": prompt.temperature,
    }
    if server.chat:
        body["messages"] = [{"role": "user", "content": prompt.text}]
    else:
        body["prompt"] = prompt.text
    if dialect.stream_options:
        body["stream_options"] = USAGE
    if prompt.temperature > 0:
        body |= _sampling(prompt, dialect)
    return body


def _sampling(prompt: GenerationRequest, dialect: Capabilities) -> Body:
    # What is not said may be what the model's publisher recommends, which is not what was asked for.
    if not dialect.samples:
        raise _untold("temperature")
    said: Body = {"top_p": prompt.top_p}
    if dialect.top_k:
        said["top_k"] = prompt.top_k or ALL
    elif dialect.generation_config:
        sampling = {"temperature": prompt.temperature, "top_p": prompt.top_p, "top_k": prompt.top_k}
        said["generation_config"] = json.dumps({"do_sample": True, **sampling})
    elif prompt.top_k:
        raise _untold("top_k")
    if prompt.seed is not None:
        if not dialect.seed:
            raise _untold("seed")
        said["seed"] = prompt.seed & ((1 << _SEED_BITS) - 1)
    return said


def _untold(field: str) -> InvalidRequest:
    return InvalidRequest(f"the engine behind this model takes no {field}; leave it out", field=field)
