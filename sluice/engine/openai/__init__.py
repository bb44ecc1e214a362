"""Texts written by an engine in another process, through OpenAI's HTTP interface."""
