"""What people do and see: the same calls for the pages, the command line and the host's Python."""
