"""An engine in another process, as a worker's configuration names it: section `openai` of an entry of `models`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationInfo

from sluice.runtime.config import Section

EXTERNAL = "external"
"""The device of what is computed in another process, and its precision unless the configuration says another."""


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("must be like http://127.0.0.1:8000/v1 or https://engine.example/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be an address alone; `api_key_env` says where the key is")
    return value.rstrip("/")


def _variable(value: str, info: ValidationInfo) -> str:
    if value and not (info.context or {}).get(value):
        raise ValueError("must name a variable of the environment that holds the key")
    return value


class OpenAIServer(Section):
    """A server with OpenAI's HTTP interface. All prompts for the model are sent to it."""

    url: Annotated[str, AfterValidator(_url)]
    """Where it serves, http or https, up to and with its `/v1`."""
    model: str = Field(min_length=1, max_length=512)
    """The model's name there."""
    api_key_env: Annotated[str, AfterValidator(_variable)] = ""
    """The environment's variable that holds the key which the server asks for. Empty: it asks for none."""
    chat: bool = False
    """Whether a prompt is a user's turn, which the server puts into the model's chat template, and not a text to
    continue as it stands."""
    max_generations: int = Field(default=256, ge=1, le=4096)
    """The most texts that it is asked to write at a time: as many as it writes together."""
    max_tokens: int = Field(default=4096, ge=2)
    """The most tokens of a prompt and its text together: the length up to which it serves the model."""
    silence_timeout_s: float = Field(default=60, gt=0, le=3600)
    """How long it may say nothing, before a text or within one, until the text fails."""
    _api_key: SecretStr = PrivateAttr(default=SecretStr(""))

    @property
    def api_key(self) -> SecretStr:
        """What the variable held at the start. Empty: none is asked for."""
        return self._api_key

    def model_post_init(self, context: Any, /) -> None:
        """Take the key, and nothing else, out of the environment."""
        if self.api_key_env:
            self._api_key = SecretStr(context[self.api_key_env])
