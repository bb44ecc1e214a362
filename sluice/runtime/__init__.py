"""What every program of the mesh runs on: how it serves, reads messages, and logs."""
