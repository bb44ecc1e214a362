"""Spans of requests and batches, and the counts of outcomes."""
