"""The published service config, as our clients use it."""

from __future__ import annotations

import json

import pytest
from google.protobuf.duration_pb2 import Duration

from sluice.client.options import channel_options, service_config
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2


def test_it_names_services_that_exist() -> None:
    config = json.loads(service_config())
    known = {
        inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name,
        oip_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
    }
    assert {name["service"] for one in config["methodConfig"] for name in one["name"]} == known
    assert config["healthCheckConfig"]["serviceName"] in known
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]


def test_it_retries_what_was_refused_and_what_never_began_within_bounds() -> None:
    for one in json.loads(service_config())["methodConfig"]:
        policy = one["retryPolicy"]
        assert set(policy["retryableStatusCodes"]) == {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
        assert 2 <= policy["maxAttempts"] <= 5  # libraries allow no more
        for name in ("initialBackoff", "maxBackoff"):
            Duration().FromJsonString(policy[name])


@pytest.mark.parametrize("name", ["grpc.service_config", "grpc.enable_retries"])
def test_our_channels_use_it(name: str) -> None:
    assert dict(channel_options())[name] in {service_config(), 1}
