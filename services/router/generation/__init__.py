"""Texts that are written: from the caller's prompt to the last piece, one ticket each, like any request."""
