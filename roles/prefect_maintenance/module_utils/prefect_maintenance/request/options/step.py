"""Options of a single step, and of the flow alone."""

from __future__ import annotations

from .option import DELETE, MEASURE, PURGE, STEPS, WRITERS, Group, Option

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
            "what_if",
            "bool",
            "Also say what would go with this policy, from statistics and samples in seconds; in "
            "check mode it is counted.",
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
            "before",
            "list",
            "Steps that are to follow; what V(delete) will take counts then, before anything is "
            "purged, where O(max_rows) or O(saved_plan) may refuse it.",
            default=(),
            elements="str",
            choices=("delete", "vacuum"),
            modules=(PURGE,),
        ),
        Option(
            "save_plan",
            "bool",
            "In check mode, make of the run a plan to be kept; the last step returns it.",
            ("Every step of the run must be told, for each notes what it was asked for.",),
            default=False,
            modules=WRITERS,
        ),
        Option(
            "saved_plan",
            "dict",
            "The plan of an earlier check that is to be applied, as C(prefect_db_vacuum) "
            "returned it.",
            (
                "Cutoffs are counted from its instant. The step refuses to begin when what decides "
                "differs from the plan, or when more rows would go than it has.",
            ),
            default={},
            modules=(PURGE, DELETE),
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
