"""Sluice: a gRPC mesh that serves transformer models and degrades instead of failing."""
