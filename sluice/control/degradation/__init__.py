"""The three levels: signals, triggers, and the laws that raise and lower them."""
