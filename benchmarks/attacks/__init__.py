"""Callers that misuse HTTP/2, and what they do to a caller who does not."""
