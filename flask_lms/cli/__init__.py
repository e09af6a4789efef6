"""``flask lms …``: what operators run."""
