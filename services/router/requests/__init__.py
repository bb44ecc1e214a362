"""What a request is, and what may be asked: values, their bounds, and nothing that is done with them."""
