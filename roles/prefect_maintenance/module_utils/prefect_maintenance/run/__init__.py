"""The line of a run: its steps, each of which makes sure of its place, does its part, reports.

What ends a step after it has begun is part of its outcome, so that nothing that was done is lost;
what keeps it from beginning is raised.
"""
