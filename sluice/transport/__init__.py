"""gRPC servers: start, health, limits, drain."""
