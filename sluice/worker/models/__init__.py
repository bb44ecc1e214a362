"""Which models a worker holds, in which form, and how they are swapped."""
