"""Hosts under a type checker."""
