"""The control plane as its members see it: who they are, whom they name, and how its snapshots are cut and read."""
