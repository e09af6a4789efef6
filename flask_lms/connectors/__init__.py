"""One folder for each type of LMS; nothing else knows the type."""
