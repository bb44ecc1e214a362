"""Tests of what the overload experiments measure by."""
