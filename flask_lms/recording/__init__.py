"""A result becomes rows of the outbox, in the host's own transaction."""
