"""Real parts for demo, tests and benchmarks: PostgreSQL, Prefect servers, a backlog.

Everything is made inside the checkout or in a temporary directory and gone afterwards.
"""
