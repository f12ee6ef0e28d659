"""What happened, and how it is shown."""
