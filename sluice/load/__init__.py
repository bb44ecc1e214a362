"""An open-loop load generator: what is sent when is decided before the first answer can have a say in it."""
