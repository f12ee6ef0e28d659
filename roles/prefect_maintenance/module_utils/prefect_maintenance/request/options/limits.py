"""Options that bound the work: its batches, its locks, its time, and what it waits for."""

from __future__ import annotations

from .option import DELETE, PURGE, RESTORE, STEPS, VACUUM, WHOLE, WRITERS, Option

RUNTIME = (0, 31_536_000)

# POST /flow_runs/bulk_delete answers 422 above this (Prefect: BULK_OPERATION_LIMIT).
BULK_LIMIT = 50

# The keys of `throttle`; request/throttle.py has their defaults.
THRESHOLDS = (
    "enabled", "replica_lag_bytes", "replica_lag_seconds", "archive_segments", "wal_bytes",
    "disk_free_percent", "slot_safe_bytes", "autovacuum", "active_sessions", "api_latency", "nice",
    "batch_seconds", "give_up",
)  # fmt: skip

LIMITS: tuple[Option, ...] = (
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
        modules=(*STEPS, RESTORE),
        entries=WHOLE,
        flow=True,
    ),
    Option(
        "max_lock",
        "float",
        "Seconds for which a table may be locked against readers or writers at a time.",
        (
            "What would take longer is done another way or left, and the report says so.",
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
        "Thresholds at which the work waits for the server; others keep their default.",
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
        "When work may go on: C(cron), C(duration), C(timezone) and C(kind); without any, always.",
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
        "Bytes free on the disk of a database that nobody can look at; V(0) is unknown.",
        ("A managed database has no host to log in to.",),
        default=0,
        bounds=(0, 2**63 - 1),
        modules=STEPS,
        entries=WHOLE,
        flow=True,
    ),
    Option(
        "max_runtime",
        "int",
        "Seconds after which a step stops between two batches and fails; V(0) is no limit.",
        default=0,
        bounds=RUNTIME,
        modules=(*WRITERS, RESTORE),
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
        modules=(*WRITERS, RESTORE),
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
)
