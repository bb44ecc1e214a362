"""Tests of the model factory. What needs torch is skipped, visibly, without the worker extra."""
