"""Options that say what goes, and when."""

from __future__ import annotations

from .option import DELETE, PURGE, STEPS, WHOLE, Group, Option

# A hundred years reach back before any computer.
DAYS = (1, 36500)
# How many of the newest a rule may keep.
LAST = (1, 1_000_000)
# How many rules there may be of a kind, and patterns in one list: SQLite nests no deeper than 1000.
MOST_RULES = 100
MOST_PATTERNS = 200

RETENTION = Group(
    "What goes, and when",
    (
        Option(
            "retention_days",
            "int",
            "Days for which everything is kept.",
            ("O(retention) may name other days for an entity.",),
            default=15,
            bounds=DAYS,
            modules=STEPS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "retention",
            "dict",
            "Days per entity, where they differ.",
            default={},
            known=("flow_runs", "task_runs", "artifacts", "logs", "events"),
            bounds=DAYS,
            modules=STEPS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "states",
            "list",
            "Terminal states whose flow runs may go.",
            default=("COMPLETED", "FAILED", "CANCELLED"),
            elements="str",
            # Prefect: TERMINAL_STATES in prefect.client.schemas.objects.
            known=("COMPLETED", "FAILED", "CANCELLED", "CRASHED"),
            modules=STEPS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "rules",
            "list",
            "Retention of flow runs by deployment, flow, tag, work pool and state.",
            (
                "A rule matches by C(deployments), C(flows), C(tags), C(work_pools) and C(states), "
                "and leaves out what fits all of its C(except). Each is a list of alternatives, "
                "in which C(*) and C(?) are wild; all that are given must fit.",
                "The first rule that matches a run decides about it: each clause of its C(keep) "
                "keeps, which are C(days), C(last), C(last_success) and C(last_failure) of a "
                "deployment, or C(forever). A run that no rule matches falls under O(states) and "
                "O(retention).",
                "Its C(logs) says how long the logs of those runs are kept. A delete asks for the "
                "rule of a run as it is then, a rewrite as it was when the copy began.",
            ),
            default=(),
            elements="dict",
            modules=STEPS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "event_rules",
            "list",
            "Retention of events by type and resource, where it differs.",
            (
                "A rule matches by C(events) and C(resources); its C(keep) has C(days), C(last) "
                "of each resource, or is C(forever).",
                "The first rule that matches an event decides about it, and its rows in "
                "C(event_resources) come and go with it.",
            ),
            default=(),
            elements="dict",
            modules=STEPS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "log_rules",
            "list",
            "Retention of logs by level and logger, where it differs.",
            (
                "A rule matches logs C(below) a level and of the C(loggers); its C(keep) has "
                "C(days) or is C(forever).",
                "The first rule that matches a log decides about it, before the C(logs) of "
                "O(rules) and before O(retention). Logs of unfinished and held runs stay, and "
                "those of runs that are gone go.",
            ),
            default=(),
            elements="dict",
            modules=STEPS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "hold_tags",
            "list",
            "Tags of a run or of its deployment that keep the run whatever its age.",
            (
                "C(*) and C(?) are wild. A tag such as C(keep-until:2027-03-31) keeps until the "
                "end of that day in UTC; one whose date cannot be read keeps.",
            ),
            default=("keep", "keep-until:*", "hold:*"),
            elements="str",
            modules=STEPS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "stuck",
            "dict",
            "Days after which an unfinished run without a sign of life is ended, by its state.",
            (
                "For example V({RUNNING: 7, PENDING: 2}). The run is ended through the API, as "
                "crashed, so that its slots are free again. V(LATE) deletes scheduled runs that "
                "never started.",
                "Without it nothing is ended. It needs O(api_url).",
            ),
            (
                "C(prefect_db_purge) ends none; it counts late runs where C(before) says that a "
                "deletion follows.",
            ),
            default={},
            known=("RUNNING", "PENDING", "PAUSED", "CANCELLING", "LATE"),
            bounds=DAYS,
            modules=(PURGE, DELETE),
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "max_rows",
            "int",
            "Refuse a plan that deletes more rows than this; V(0) is no limit.",
            (
                "All tables count together, with what hangs on the rows that go. A check warns, "
                "a run fails before it has deleted anything.",
            ),
            default=0,
            bounds=(0, 2**63 - 1),
            modules=(PURGE, DELETE),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "archive_dir",
            "path",
            "Folder on the target where rows are written, and verified, before they go.",
            modules=(PURGE, DELETE),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "archive_days",
            "int",
            "Days for which archives are kept in O(archive_dir); V(0) keeps them for good.",
            default=0,
            bounds=(0, 36500),
            modules=(PURGE, DELETE),
            entries=WHOLE,
            flow=True,
        ),
    ),
)
