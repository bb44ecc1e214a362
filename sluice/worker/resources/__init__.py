"""Memory, accelerators and how busy they are."""
