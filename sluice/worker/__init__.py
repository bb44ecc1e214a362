"""A whole worker except its model: credits, batches, the catalog of variants and the seam to a backend."""
