"""Which variant answers a request, and what is believed of how soon it would."""
