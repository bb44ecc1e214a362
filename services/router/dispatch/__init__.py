"""When a batch or a generation leaves, and to which worker."""
