"""The nouns that all programs share, and their errors."""
