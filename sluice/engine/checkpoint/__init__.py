"""Checkpoints: files, tokenizers, weights, and what is wrong with them."""
