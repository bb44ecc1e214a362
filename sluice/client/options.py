"""How a client's channel behaves: what it retries, and how it notices that the router is gone."""

from __future__ import annotations

import json

# Only what nobody has begun is tried again, and less of it the more of it fails (gRFC A6).
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": "sluice.v1.InferenceService", "method": "Infer"},
                # Once its first message has come, gRPC itself tries a stream no more.
                {"service": "sluice.v1.InferenceService", "method": "Generate"},
            ],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
DEFAULT_ROUTER = "127.0.0.1:50051"
