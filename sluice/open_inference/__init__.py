"""Generated from protos/open_inference; do not edit."""
