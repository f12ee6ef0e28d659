"""Options of the controller: reports, rollouts over many servers, and answers of a survey."""

from __future__ import annotations

from .limits import RUNTIME
from .option import DELETE, PURGE, WHOLE, Group, Option
from .retention import DAYS
from .work import VACUUM_MODES

_BEGIN = "rollout/begin"
_PERCENT = (0, 100)

CONTROLLER = Group(
    "The controller, and rollouts over many servers",
    (
        Option(
            "serial",
            "raw",
            "Waves of a rollout over many servers, as numbers or percentages; the first one is "
            "the canary.",
            ("A text of values between commas is understood too.",),
            default=(1, "25%", "100%"),
            entries=(*WHOLE, _BEGIN),
            common=True,
        ),
        Option(
            "max_fail_percentage",
            "float",
            "Share of the servers tried so far that may have failed for the next wave to begin; "
            "V(0) allows none, V(100) any.",
            default=50,
            bounds=_PERCENT,
            entries=(*WHOLE, _BEGIN, "rollout/join", "rollout/sum_up"),
        ),
        Option(
            "report_dir",
            "path",
            "Folder on the controller for the reports, as an absolute path outside the inventory.",
            ("Ansible reads each file in the inventory's folder as a part of it.",),
            default="{{ playbook_dir }}/reports",
            entries=(*WHOLE, "rollout/sum_up"),
            common=True,
        ),
        Option(
            "html",
            "bool",
            "Whether each report is written as a page for people too, beside its JSON.",
            default=True,
            entries=(*WHOLE, "rollout/sum_up"),
        ),
        Option(
            "history",
            "int",
            "Reports of earlier runs that are kept for each host, for the plots of the page; "
            "V(0) keeps none.",
            default=24,
            bounds=(0, 10_000),
            entries=(*WHOLE, "rollout/sum_up"),
        ),
        Option(
            "progress",
            "int",
            "Seconds between two lines of progress on the screen; V(0) shows none.",
            default=5,
            bounds=(0, 86400),
            entries=WHOLE,
        ),
        Option(
            "db_host",
            "str",
            "Inventory host on whose disk the database lies; its free space is looked up there.",
            ("When it is not set, only a disk of the target itself is looked at.",),
            entries=WHOLE,
        ),
        Option(
            "plan_out",
            "path",
            "Folder on the controller in which a check writes the plan of each server, to be "
            "applied later.",
            (
                "The file is called C(<host>.plan.json), and only its owner can read it.",
                "A job of AWX also hands the plans to the next job of its workflow.",
            ),
            entries=("main",),
        ),
        Option(
            "plan_in",
            "raw",
            "Folder on the controller with plans that O(plan_out) wrote; the run applies them.",
            (
                "It counts from the instant of the plan, and refuses to begin when what decides "
                "differs from the plan, or more would go than was planned.",
                "In a workflow of AWX it is the plans themselves, by host.",
            ),
            entries=("main",),
        ),
        Option(
            "plan_drift",
            "int",
            "Percent by which more rows of a table may go than the plan has that is applied.",
            default=10,
            bounds=(0, 1000),
            modules=(PURGE, DELETE),
            entries=("main",),
        ),
    ),
)

SURVEY = Group(
    "Answers of an AWX survey, where a blank one changes nothing",
    (
        Option(
            "survey_retention_days",
            "raw",
            "Days that everything is kept.",
            bounds=DAYS,
            entries=(_BEGIN,),
        ),
        Option(
            "survey_retention_logs",
            "raw",
            "Days that logs are kept.",
            bounds=DAYS,
            entries=(_BEGIN,),
        ),
        Option(
            "survey_retention_events",
            "raw",
            "Days that events are kept.",
            bounds=DAYS,
            entries=(_BEGIN,),
        ),
        Option(
            "survey_rules",
            "raw",
            "Rules of retention for flow runs, as YAML or JSON.",
            ("They take the place of O(rules) on every server of the rollout.",),
            entries=(_BEGIN,),
        ),
        Option(
            "survey_vacuum",
            "raw",
            "How space is given back.",
            known=VACUUM_MODES,
            entries=(_BEGIN,),
        ),
        Option(
            "survey_max_runtime",
            "raw",
            "Seconds after which each step stops.",
            bounds=RUNTIME,
            entries=(_BEGIN,),
        ),
        Option("survey_serial", "raw", "Waves of the rollout.", entries=(_BEGIN,)),
        Option(
            "survey_max_fail_percentage",
            "raw",
            "Share of servers that may fail before no further wave begins.",
            bounds=_PERCENT,
            entries=(_BEGIN,),
        ),
    ),
)
