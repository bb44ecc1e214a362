"""What callers lose when two routers are restarted one after the other."""
