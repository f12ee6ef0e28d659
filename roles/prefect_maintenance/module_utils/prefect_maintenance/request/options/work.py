"""Options that say how rows go and how the space comes back."""

from __future__ import annotations

from .limits import LIMITS, RUNTIME
from .option import DELETE, PURGE, VACUUM, WHOLE, Group, Option

VACUUM_MODES = ("auto", "none", "plain", "full", "rewrite", "compact", "repack")
WORK = Group(
    "How it goes, and how the space comes back",
    (
        Option(
            "purge_strategy",
            "str",
            "How logs and events go; V(auto) takes for each table whichever way costs less.",
            (
                "V(delete) deletes in bounded transactions.",
                "V(rewrite) copies the rows that are kept beside the table, follows what changes "
                "meanwhile, and swaps the two under a lock of milliseconds; the disk space comes "
                "back at once. A table with something that a swap would lose, such as a view or a "
                "foreign key, is purged by deletes, and a warning says why. On SQLite it means "
                "V(delete).",
                "V(auto) counts the cost of the reclaim that follows too. The report says which "
                "way was taken, why, and what each way was estimated to take.",
            ),
            default="auto",
            choices=("auto", "delete", "rewrite"),
            modules=(PURGE,),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "run_delete_via",
            "str",
            "Whether runs and artifacts are deleted by the server or in the database.",
            (
                "V(auto) is V(api) as long as that is estimated to fit O(api_budget), else V(sql); "
                "the report says which, and why.",
                "V(api) has the Prefect server delete the flow runs that its API can guard, which "
                "are those with an end time and without task runs or subflows, on Prefect 3.6.16 "
                "and newer. All else is deleted in the database as with V(sql), because the API "
                "would delete it even in use.",
                "V(sql) deletes the same rows in the database, many times faster, under row locks "
                "that ask for state and age once more; what another session holds is left for the "
                "next run.",
            ),
            in_modules=(
                "O(api_url) may be empty with V(sql), and with V(auto), which is V(sql) then.",
            ),
            default="auto",
            choices=("auto", "api", "sql"),
            modules=(DELETE,),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "api_budget",
            "int",
            "Seconds that O(run_delete_via=auto) may spend on the API; the rest goes by SQL.",
            (
                "Pauses that leave the server its turn count too. When the first calls show that "
                "the others will not fit, those are deleted in the database. V(0) has the API "
                "delete nothing.",
            ),
            default=600,
            bounds=RUNTIME,
            modules=(DELETE,),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "vacuum",
            "str",
            "How space is given back; V(auto) rewrites the tables that pass both thresholds.",
            (
                "Every mode but V(none) vacuums and analyses every table of the catalogue.",
                "V(auto) rewrites C(log), C(events) and C(event_resources) online under a lock of "
                "milliseconds. A table that others refer to gets C(VACUUM FULL), which keeps "
                "everybody out of it for its time, when that is 0.1 seconds or less, else it is "
                "compacted; so is any table whose copy does not fit on the disk. Where O(max_lock) "
                "is raised above its default, or no compaction is open, C(VACUUM FULL) may take as "
                "long as that.",
                "V(compact) moves the rows at the end of a table to its free pages and cuts the "
                "end off, in small transactions: it keeps nobody out and needs hardly any disk, "
                "but takes several times as long. Values stored out of line stay where they are.",
                "V(full) uses C(VACUUM FULL) for all of them, however long it keeps everybody out, "
                "V(rewrite) only rewrites online, and V(plain) rewrites nothing.",
                "V(repack) is V(auto) with the concurrent C(REPACK) of PostgreSQL 19 or, where "
                "the extension and its program are there, C(pg_repack) in place of C(VACUUM FULL).",
                "An SQLite file is rewritten as a whole in V(auto) and V(full). With "
                "C(auto_vacuum = INCREMENTAL) it gives its free pages back in small steps instead, "
                "in V(compact), and in V(auto) where C(VACUUM) would keep writers out for longer "
                "than O(max_lock) or its copy does not fit on the disk.",
                "Whatever the thresholds, nothing is rewritten for less than its measurement may "
                "be wrong by.",
            ),
            default="auto",
            choices=VACUUM_MODES,
            modules=(VACUUM,),
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "vacuum",
            "str",
            "What will become of the space afterwards, as for C(prefect_db_vacuum).",
            ("V(auto) of O(purge_strategy) rewrites what would be rewritten anyhow.",),
            default="auto",
            choices=VACUUM_MODES,
            modules=(PURGE,),
        ),
        Option(
            "vacuum_min_bytes",
            "int",
            "A table is rewritten only when at least so many bytes come back.",
            default=100 * 2**20,
            bounds=(0, 2**53 - 1),
            modules=(PURGE, VACUUM),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "vacuum_min_percent",
            "int",
            "A table is rewritten only when at least so many percent come back.",
            ("O(vacuum_min_bytes) must be met as well.",),
            default=20,
            bounds=(0, 100),
            modules=(PURGE, VACUUM),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "tune_autovacuum",
            "bool",
            "Whether autovacuum settings that keep purged tables small are set on them.",
            ("Without it they are only suggested.",),
            default=False,
            modules=(VACUUM,),
            entries=WHOLE,
            flow=True,
        ),
        *LIMITS,
    ),
)
