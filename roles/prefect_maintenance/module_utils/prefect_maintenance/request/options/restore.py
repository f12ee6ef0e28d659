"""Options of a restore: from which archives, and what of them."""

from __future__ import annotations

from .option import RESTORE as RESTORE_MODULE
from .option import WHOLE, Group, Option

RESTORE_ALONE = Group(
    "A restore",
    (
        Option(
            "archive",
            "path",
            "Folder on the target with an archive, or with those of a server or of all servers "
            "below it.",
            required=True,
            modules=(RESTORE_MODULE,),
        ),
        Option(
            "flow_run",
            "str",
            "Id of the only flow run that is restored, with its subflows and all that belongs to "
            "them.",
            modules=(RESTORE_MODULE,),
        ),
        Option(
            "rule",
            "str",
            "Name of a rule; only what it let go is restored, a run with all that belongs to it.",
            modules=(RESTORE_MODULE,),
        ),
        Option(
            "begin",
            "str",
            "Restore only what is dated then or later, in ISO 8601; without an offset it is UTC.",
            ("A flow run comes back with all that belongs to it.",),
            modules=(RESTORE_MODULE,),
        ),
        Option(
            "until",
            "str",
            "Restore only what is dated before, in ISO 8601; without an offset it is UTC.",
            modules=(RESTORE_MODULE,),
        ),
    ),
)

RESTORE = Group(
    "Restoring what was archived: playbooks/restore.yml",
    (
        Option(
            "restore_archive",
            "str",
            "Folder on the target with the archive that C(playbooks/restore.yml) restores, or "
            "with several below it.",
            ("Without it, those of this server in O(archive_dir).",),
            entries=WHOLE,
        ),
        Option(
            "restore_flow_run",
            "str",
            "Id of the only flow run that C(playbooks/restore.yml) restores, with all that belongs "
            "to it.",
            entries=WHOLE,
        ),
        Option(
            "restore_rule",
            "str",
            "Name of the rule whose rows alone C(playbooks/restore.yml) restores, a run with all "
            "that belongs to it.",
            entries=WHOLE,
        ),
        Option(
            "restore_begin",
            "str",
            "C(playbooks/restore.yml) restores only what is dated then or later, in ISO 8601.",
            entries=WHOLE,
        ),
        Option(
            "restore_until",
            "str",
            "C(playbooks/restore.yml) restores only what is dated before, in ISO 8601.",
            entries=WHOLE,
        ),
    ),
)
