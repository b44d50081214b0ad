"""Live benchmark: cameras that stamp what they send, a subscriber in a process of its own, and what it adds up to."""
