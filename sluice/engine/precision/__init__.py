"""Precisions: how a model is loaded in each."""
