"""Text generation: transformers' continuous batching behind the worker's seam, with attention by torch's kernels."""
