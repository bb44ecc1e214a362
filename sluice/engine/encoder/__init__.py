"""Classification and embedding: tokenize, run, read the heads."""
