"""SQLite has one writer: between two batches Prefect's server gets its turn."""

from __future__ import annotations

from .governors import Answer, Moment, Wait


def single_writer(moment: Moment) -> Answer:
    """Wait as long as the batch took; Prefect's requests fail while one runs."""
    left = moment.worked - moment.waited
    if left <= 0:
        return None
    return Wait("Prefect's server writes to the same file", left, "single_writer")
