"""Options of the automations that tell how the runs of the scheduled deployment end."""

from __future__ import annotations

from .option import AUTOMATION, Group, Option

WITHIN = (0, 315_360_000)

AUTOMATION_ALONE = Group(
    "Automations that tell how the runs of a deployment end",
    (
        Option(
            "deployment",
            "str",
            "Name of the deployment.",
            required=True,
            modules=(AUTOMATION,),
        ),
        Option(
            "flow",
            "str",
            "Name of its flow.",
            default="prefect-maintenance",
            modules=(AUTOMATION,),
        ),
        Option(
            "block",
            "str",
            "Notification block that tells people, as C(type/name).",
            (
                "E.g. V(slack-webhook/operations); without one Prefect only makes the event "
                "C(prefect.automation.triggered).",
            ),
            modules=(AUTOMATION,),
        ),
        Option(
            "within",
            "int",
            "Seconds in which a run must complete; V(0) means two periods of O(cron).",
            ("The time begins anew with each run that completes.",),
            default=0,
            bounds=WITHIN,
            modules=(AUTOMATION,),
        ),
        Option(
            "cron",
            "str",
            "When the deployment runs; unset, and without O(within), no run is expected.",
            modules=(AUTOMATION,),
        ),
        Option(
            "timezone",
            "str",
            "Time zone of O(cron).",
            default="UTC",
            modules=(AUTOMATION,),
        ),
        Option(
            "state",
            "str",
            "Whether they should be there.",
            default="present",
            choices=("present", "absent"),
            modules=(AUTOMATION,),
        ),
    ),
)
