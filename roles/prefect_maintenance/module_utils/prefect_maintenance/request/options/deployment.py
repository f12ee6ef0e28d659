"""Options of the scheduled deployment, its work pool and its worker."""

from __future__ import annotations

from .automation import WITHIN
from .option import DEPLOYMENT, POOL, WHOLE, Group, Option

_STATES = ("present", "absent")

POOL_ALONE = Group(
    "A work pool",
    (
        Option("name", "str", "Name of the pool.", required=True, modules=(POOL,)),
        Option(
            "type",
            "str",
            "Its type, as the server knows them.",
            default="process",
            modules=(POOL,),
        ),
        Option("description", "str", "What it is for.", modules=(POOL,)),
        Option(
            "concurrency_limit",
            "int",
            "How many runs it works on at a time.",
            modules=(POOL,),
        ),
        Option(
            "only_environment",
            "list",
            "Names of the environment variables that a run may set.",
            (
                "A run of the pool can then replace nothing else, neither its command nor its "
                "working folder. A pool that exists already and is closed in this way lets its "
                "runs set these variables as well; one that is open stays so, and a warning says "
                "so.",
            ),
            elements="str",
            modules=(POOL,),
        ),
        Option(
            "worker",
            "str",
            "Name of a worker of the pool, for whose heartbeat the module waits.",
            (
                "It fails when none comes within two minutes. It reads only, and a check does not "
                "wait.",
            ),
            modules=(POOL,),
        ),
        Option(
            "worker_is_new",
            "bool",
            "The worker was started just now, so that what was heard of it earlier does not count.",
            default=False,
            modules=(POOL,),
        ),
        Option(
            "state",
            "str",
            "V(absent) removes the pool, unless deployments use it; then a warning says which.",
            default="present",
            choices=_STATES,
            modules=(POOL,),
        ),
    ),
)

DEPLOYMENT_ALONE = Group(
    "A deployment",
    (
        Option("name", "str", "Name of the deployment.", required=True, modules=(DEPLOYMENT,)),
        Option(
            "flow",
            "str",
            "Name of the flow; that of V(prefect-maintenance) is this tool's own.",
            default="prefect-maintenance",
            modules=(DEPLOYMENT,),
        ),
        Option(
            "entrypoint",
            "str",
            "File and function of the flow, relative to O(path).",
            default="maintenance.py:maintenance",
            modules=(DEPLOYMENT,),
        ),
        Option(
            "path",
            "path",
            "Folder of the flow on the worker's machine; required unless it is to be absent.",
            modules=(DEPLOYMENT,),
        ),
        Option(
            "parameters",
            "dict",
            "Parameters of the flow.",
            ("Whoever reaches the API can read them.",),
            default={},
            modules=(DEPLOYMENT,),
        ),
        Option(
            "schema",
            "dict",
            "OpenAPI schema of the parameters, for the form in the UI; that of this tool's own "
            "flow is known.",
            modules=(DEPLOYMENT,),
        ),
        Option(
            "environment",
            "dict",
            "Variables of the run.",
            ("Whoever reaches the API can read them, so no secrets.",),
            default={},
            modules=(DEPLOYMENT,),
        ),
        Option(
            "cron",
            "str",
            "When it runs, in five fields; unset for no schedule.",
            modules=(DEPLOYMENT,),
        ),
        Option(
            "timezone",
            "str",
            "Time zone of O(cron).",
            default="UTC",
            modules=(DEPLOYMENT,),
        ),
        Option("description", "str", "What people read about it.", modules=(DEPLOYMENT,)),
        Option("tags", "list", "Tags.", default=(), elements="str", modules=(DEPLOYMENT,)),
        Option(
            "wait",
            "bool",
            "Wait until the server has scheduled the next runs.",
            default=True,
            modules=(DEPLOYMENT,),
        ),
        Option(
            "state",
            "str",
            "Whether it should be there; its runs stay either way.",
            default="present",
            choices=_STATES,
            modules=(DEPLOYMENT,),
        ),
    ),
)

SCHEDULE = Group(
    "The maintenance as a scheduled deployment: playbooks/schedule.yml",
    (
        Option(
            "schedule_state",
            "str",
            "Whether the scheduled deployment should be there; V(absent) takes it away again.",
            default="present",
            choices=_STATES,
            entries=WHOLE,
        ),
        Option(
            "schedule_cron",
            "str",
            "When the deployment runs, in five fields.",
            default="0 3 1 * *",
            entries=WHOLE,
            common=True,
        ),
        Option(
            "schedule_timezone",
            "str",
            "Time zone of O(schedule_cron).",
            default="Asia/Bangkok",
            entries=WHOLE,
            common=True,
        ),
        Option(
            "work_pool",
            "str",
            "The work pool whose workers run the deployment.",
            in_role=("It is of type process.",),
            default="process-pool",
            modules=(DEPLOYMENT,),
            entries=WHOLE,
        ),
        Option(
            "deployment_name",
            "str",
            "Name of the deployment.",
            default="prefect-maintenance",
            entries=WHOLE,
        ),
        Option(
            "flow_run_name",
            "str",
            "Name of the deployment's runs; C({date}), C({time}) (UTC), C({host}) are filled in.",
            default="maintenance-{date}",
            entries=WHOLE,
        ),
        Option(
            "automation",
            "bool",
            "Whether automations on the server tell when a run of the deployment failed, and when "
            "none has completed in time.",
            ("When it is false they are removed.",),
            default=False,
            entries=WHOLE,
        ),
        Option(
            "automation_block",
            "str",
            "Notification block by which O(automation) tells people, as C(type/name), e.g. "
            "V(slack-webhook/operations).",
            ("Without it Prefect only makes the event C(prefect.automation.triggered).",),
            entries=WHOLE,
        ),
        Option(
            "automation_within",
            "int",
            "Seconds in which a run must complete; V(0) means two periods of O(schedule_cron).",
            default=0,
            bounds=WITHIN,
            entries=WHOLE,
        ),
        Option(
            "worker",
            "bool",
            "Whether a systemd unit on the target runs a worker of O(work_pool); that needs root.",
            default=False,
            entries=WHOLE,
        ),
        Option(
            "worker_writes",
            "list",
            "Folders that the worker may write to beside its own, such as that of an SQLite "
            "database.",
            default=(),
            elements="str",
            entries=WHOLE,
        ),
        Option(
            "service_user",
            "str",
            "User of the worker and owner of the credentials.",
            (
                "When it is not set, it is the system user C(prefect-maintenance), which the role "
                "makes, with O(worker) in a play as root; else the one that the play works as.",
            ),
            entries=WHOLE,
        ),
    ),
)
