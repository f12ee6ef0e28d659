"""Put rows back that were archived before they went."""

from __future__ import annotations

from ..errors import SettingsError
from ..execute import restore_files
from ..execute.restore import ORDER, Restore, Restored
from ..execute.restore_select import Selection
from ..pace.pace import Pace
from ..request.settings import Settings
from ..units import count
from .outcome import Outcome
from .session import begun


def restore_rows(settings: Settings, pace: Pace) -> Outcome:
    """Put rows back that were archived before they went.

    Raises:
        Unsupported: the archives are of another dialect or revision of the schema.
        MaintenanceError: an archive is damaged, or rows cannot be inserted.
    """
    wanted = settings.restore
    if wanted is None:
        raise SettingsError("archive is missing: the folder that has what is to be restored")
    archives = restore_files.find(wanted.archive)
    if wanted.rule:
        restore_files.require_rule(archives, wanted.rule)
    with begun("restore", settings, pace) as session:
        restore_files.require_same(archives, session.server.dialect, str(session.server.revision))
        restore_files.verify(archives)
        with session.at_work():
            selection = Selection(wanted, archives)
            done = Restore(session.database, archives, selection, pace, settings.check).run()
        report = session.report.with_warnings(_warnings(done)).closed("restore", session.seconds)
    answers = {"restored": done.rows, "there": done.there, "left_out": done.left_out}
    lines = [*selection.went_by, *_lines(done, settings.check)]
    missing = dict.fromkeys(done.rows, 0)
    return Outcome(done.changed, report, lines, answers, missing, done.rows)


def _warnings(done: Restored) -> list[str]:
    return [
        f"{count(rows)} rows of {table} were left out: what they belong to is not there"
        for table, rows in done.left_out.items()
        if rows
    ]


def _lines(done: Restored, check: bool) -> list[str]:
    """Say for people what became of the rows."""
    verb = "would come back" if check else "came back"
    told = []
    for table in ORDER:
        rows, there = done.rows.get(table, 0), done.there.get(table, 0)
        if rows or there:
            told.append(f"{table}: {count(rows)} rows {verb}, {count(there)} were there")
    return told or ["the archives have nothing of what was asked for"]
