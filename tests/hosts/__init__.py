"""Hosts that do odd things, each seen in a real application, walked the whole way."""
