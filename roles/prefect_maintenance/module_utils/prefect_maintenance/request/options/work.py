"""Options that say how rows go, how the space comes back, and within which limits."""

from __future__ import annotations

from .option import DELETE, MEASURE, PURGE, STEPS, VACUUM, WHOLE, WRITERS, Group, Option

VACUUM_MODES = ("auto", "none", "plain", "full", "rewrite", "compact", "repack")
RUNTIME = (0, 31_536_000)

# POST /flow_runs/bulk_delete answers 422 above this (Prefect: BULK_OPERATION_LIMIT).
BULK_LIMIT = 50

# The keys of `throttle`; request/throttle.py has their defaults.
THRESHOLDS = (
    "enabled", "replica_lag_bytes", "replica_lag_seconds", "archive_segments", "wal_bytes",
    "disk_free_percent", "slot_safe_bytes", "autovacuum", "active_sessions", "api_latency", "nice",
    "batch_seconds", "give_up",
)  # fmt: skip

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
            "Seconds that deleting through the API may take with O(run_delete_via=auto); what "
            "takes longer is deleted in the database.",
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
                "everybody out of it for its time, when that fits O(max_lock), else it is "
                "compacted; so is any table whose copy does not fit on the disk.",
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
            "batch_size",
            "int",
            "Rows in one transaction.",
            ("On SQLite it is at most 2000, because it has one writer.",),
            in_role=(f"The API deletes at most {BULK_LIMIT} runs a call.",),
            default=20000,
            bounds=(1, 10_000_000),
            modules=(PURGE,),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "batch_size",
            "int",
            "Flow runs that one call of the API deletes at most.",
            (
                f"The API's bulk endpoint takes at most {BULK_LIMIT}; a call is made smaller where "
                "others who read from the server would notice it.",
            ),
            default=BULK_LIMIT,
            modules=(DELETE,),
        ),
        Option(
            "lock_timeout",
            "float",
            "Seconds to wait for a lock in the database before giving up.",
            default=5.0,
            bounds=(0, 86400),
            excluded=True,
            modules=STEPS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "max_lock",
            "float",
            "Seconds for which a table may be locked against readers or writers; what would take "
            "longer is done another way or left, and the report says so.",
            (
                "What takes longer is taken back and done another way. It does not bound "
                "O(vacuum=full), which asks for the lock by name, nor the C(VACUUM) of an SQLite "
                "file that has no other way.",
            ),
            default=1.0,
            bounds=(0, 86400),
            excluded=True,
            modules=(PURGE, VACUUM),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "throttle",
            "dict",
            "Thresholds at which the work waits for the server; what is not named keeps its "
            "default.",
            (
                "A threshold of V(0) or V(null) turns its own off, and V(enabled=false) all of "
                "them; C(docs/throttle.md) says what each means and why it is what it is.",
            ),
            default={},
            known=THRESHOLDS,
            modules=WRITERS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "limits_file",
            "path",
            "A file on the target whose thresholds replace those of O(throttle) while it exists.",
            (
                "It is a JSON object with the same keys, and is read again when it changes, also "
                "while the work goes on.",
            ),
            in_role=("When it is not set, it is C(limits) in the folder O(home).",),
            modules=WRITERS,
            entries=WHOLE,
        ),
        Option(
            "windows",
            "list",
            "When work may go on: C(cron), C(duration), C(timezone) and C(kind); without any, "
            "always.",
            (
                "A window opens whenever the five fields of C(cron) come by the clocks of "
                "C(timezone), which is V(UTC) unless named, and is open for C(duration), such as "
                "V(4h), V(90m) or seconds, at most seven days.",
                "Its C(kind) is V(allow), or V(deny), which beats every V(allow); without any "
                "V(allow), all time is allowed that no V(deny) covers.",
                "Outside, a step waits for a window that opens within 15 minutes. Otherwise it "
                "does not begin, or ends at the next batch, without a failure, and the report's "
                "status is V(partial). A check is made at any time.",
            ),
            default=(),
            elements="dict",
            modules=WRITERS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "db_free_bytes",
            "int",
            "Bytes that are free on the disk of a database whose host nobody can look at, such as "
            "a managed one; V(0) when nobody knows.",
            default=0,
            bounds=(0, 2**63 - 1),
            modules=STEPS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "tune_autovacuum",
            "bool",
            "Whether the autovacuum settings that would keep the purged tables small are set on "
            "them, instead of only suggested.",
            default=False,
            modules=(VACUUM,),
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "max_runtime",
            "int",
            "Seconds after which a step stops between two batches and fails; V(0) is no limit.",
            default=0,
            bounds=RUNTIME,
            modules=WRITERS,
            entries=WHOLE,
            flow=True,
            common=True,
        ),
        Option(
            "stop_file",
            "path",
            "A file on the target that stops the maintenance between two batches while it exists.",
            in_modules=(
                "A step that is stopped fails, and one that is not at work yet does not begin.",
            ),
            in_role=("When it is not set, it is C(stop) in the folder O(home).",),
            modules=WRITERS,
            entries=(*WHOLE, "stop"),
        ),
        Option(
            "per_cluster",
            "int",
            "Databases of one PostgreSQL cluster worked on at a time; V(0) is no limit.",
            ("A step waits until it is its turn, whoever started the others.",),
            default=1,
            bounds=(0, 10_000),
            modules=WRITERS,
            entries=WHOLE,
            flow=True,
        ),
        Option(
            "textfile_dir",
            "path",
            "Folder on the target from which node_exporter's textfile collector reads; each step "
            "writes C(prefect_maintenance.prom) there.",
            modules=STEPS,
            entries=WHOLE,
        ),
    ),
)

STEP_ALONE = Group(
    "A step of a run",
    (
        Option(
            "concurrency",
            "int",
            "Kept for compatibility.",
            ("Nothing is deleted one by one any more.",),
            default=4,
            bounds=(1, 100),
            modules=(DELETE,),
        ),
        Option(
            "reference_time",
            "str",
            "The instant from which all cutoffs are counted back, in ISO 8601; without an offset "
            "it is UTC.",
            ("When it is not set, the one in O(report) is used, else the present.",),
            modules=STEPS,
        ),
        Option(
            "report",
            "dict",
            "The RV(report) of the steps before in the same run, which this step continues.",
            ("In check mode it tells this step what those steps would have deleted.",),
            default={},
            modules=STEPS,
        ),
        Option(
            "background",
            "dict",
            "What the action of the same name on the controller asks for itself, so that the step "
            "goes on when the connection is lost and says how far it is; leave it out.",
            default={},
            modules=STEPS,
        ),
        Option(
            "growth_drivers",
            "bool",
            "Also say which deployments and flows made the most rows since the flow runs' cutoff.",
            default=False,
            modules=(MEASURE,),
        ),
        Option(
            "locate",
            "bool",
            "Only say in which folder of its server the files of the database lie.",
            default=False,
            modules=(MEASURE,),
        ),
        Option(
            "disk",
            "dict",
            "What C(df -P -k) printed on the host on whose disk the database lies: C(host), "
            "C(path), C(df), or C(why) there is nothing.",
            ("Without it, only a disk of the target itself is looked at.",),
            default={},
            modules=(MEASURE,),
        ),
        Option(
            "before",
            "list",
            "Steps that are to follow; what the role in O(db_url) lacks for any of them is said "
            "now, before anything is changed.",
            default=(),
            elements="str",
            choices=("purge", "delete", "vacuum"),
            modules=(MEASURE,),
        ),
        Option(
            "dry_run",
            "bool",
            "Only say what would go; nothing is changed.",
            default=False,
            flow=True,
        ),
    ),
)
