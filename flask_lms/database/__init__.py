"""The tables, their types, and how they come into the host's ``db``."""
