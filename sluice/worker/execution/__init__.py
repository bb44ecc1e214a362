"""What runs on the device: batches and generations."""
