"""The Prefect API, and what is made through it."""
