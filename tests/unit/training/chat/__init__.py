"""Tests of the demo's chat model and of what it is made from."""
