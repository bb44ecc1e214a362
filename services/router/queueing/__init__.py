"""Where requests wait for a worker."""
