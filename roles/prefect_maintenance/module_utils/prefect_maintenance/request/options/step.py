"""Options of a single step, and of the flow alone."""

from __future__ import annotations

from .option import DELETE, MEASURE, STEPS, Group, Option

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
            "dry_run",
            "bool",
            "Only say what would go; nothing is changed.",
            default=False,
            flow=True,
        ),
    ),
)
