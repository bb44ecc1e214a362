"""What becomes of a request once it was admitted: second tries, and what is never tried again."""
