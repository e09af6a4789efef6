"""Who is mailed when, what the mail says, and sending it. Knows nothing of how results are sent."""
