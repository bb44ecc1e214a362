"""What the router knows of its workers, and what it believes of what they say."""
