"""Which models are left to a server, whatever a worker would do with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.domain.enums import Tier
from sluice.engine.openai.generator import OpenAIGenerator
from sluice.testing.identity import IdentityBackend, with_identity
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.loaders import with_openai
from sluice.worker.models.registry import ECHO, IDENTITY
from tests.unit.openai.writing import server_at

LOADER = with_openai(with_identity(lambda spec: pytest.fail("another loader was asked")))


@pytest.mark.parametrize("name", ["there", IDENTITY, ECHO])
def test_what_a_server_writes_is_left_to_it_whatever_it_is_called_there(name: str) -> None:
    server = server_at("http://127.0.0.1:1/v1", model=name)
    loaded = LOADER(ModelSpec(model="chat", tier=Tier.FULL, checkpoint=Path(name), openai=server))
    assert isinstance(loaded, OpenAIGenerator)


def test_what_no_server_writes_is_loaded_as_ever() -> None:
    assert isinstance(LOADER(ModelSpec(model="m", tier=Tier.FULL, checkpoint=Path(IDENTITY))), IdentityBackend)
