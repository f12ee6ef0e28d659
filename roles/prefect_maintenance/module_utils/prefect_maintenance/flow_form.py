"""What the form of the flow asks for: the kinds of its parameters beside texts and numbers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from .request.options.retention import LAST
from .request.values import BOUNDS


def within(option: str) -> Any:
    """Return what holds a number of the form to the bounds of an option."""
    least, most = BOUNDS[option]
    return Field(ge=least, le=most)


class ShownAs:
    """Shows values in the form as one kind, and takes them as they are.

    The engine reads them anyway, and says in one line what is wrong with a rule and which it is.
    """

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __get_pydantic_json_schema__(
        self, _taken: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(self._kind).core_schema)


Days = Annotated[int, within("retention_days")]
Last = Annotated[int, Field(ge=LAST[0], le=LAST[1])]
Patterns = Annotated[list[str], Field(min_length=1)]
Forever = Literal["forever"]


class Retention(BaseModel):
    """Days per entity; what is left empty is kept as long as everything else."""

    flow_runs: Days | None = None
    task_runs: Days | None = None
    artifacts: Days | None = None
    logs: Days | None = None
    events: Days | None = None


class Window(BaseModel, extra="forbid"):
    """A window in which the work may go on, or may not."""

    cron: str = Field(description="When it opens, as five fields of cron, e.g. 0 22 * * mon-fri.")
    duration: str | int = Field(description="For how long it is open, e.g. 4h or 90m.")
    timezone: str = Field("UTC", description="The time zone of cron, e.g. Europe/Berlin.")
    kind: Literal["allow", "deny"] = Field("allow", description="A deny beats an allow.")


class KeepDays(BaseModel, extra="forbid"):
    """Days for which something is kept."""

    days: Days = Field(description="Days for which it is kept.", examples=[30])


class KeepEvents(BaseModel, extra="forbid"):
    """What keeps events: each clause that is given keeps by itself."""

    days: Days | None = Field(None, description="Those that are younger.", examples=[1])
    last: Last | None = Field(
        None, description="So many of the newest of each resource.", examples=[3]
    )


class KeepRuns(BaseModel, extra="forbid"):
    """What keeps flow runs: each clause that is given keeps by itself."""

    days: Days | None = Field(None, description="Those that are younger.", examples=[30])
    last: Last | None = Field(
        None,
        description="So many of the newest of each deployment; without one, of each flow.",
        examples=[10],
    )
    last_success: Last | None = Field(
        None, description="So many of the newest that completed.", examples=[1]
    )
    last_failure: Last | None = Field(
        None, description="So many of the newest that failed or crashed.", examples=[1]
    )


class Runs(BaseModel, extra="forbid"):
    """Which flow runs: of each kind that is given, one of the values must fit."""

    deployments: Patterns | None = Field(
        None,
        description="As flow/deployment, or the deployment's own name; * and ? are wild.",
        examples=[["etl/*"]],
    )
    flows: Patterns | None = Field(
        None, description="Names of flows; * and ? are wild.", examples=[["healthcheck*"]]
    )
    tags: Patterns | None = Field(
        None, description="Tags of the run; * and ? are wild.", examples=[["gdpr"]]
    )
    work_pools: Patterns | None = Field(
        None, description="Names of work pools; * and ? are wild.", examples=[["k8s-*"]]
    )
    states: (
        Annotated[list[Literal["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]], Field(min_length=1)]
        | None
    ) = Field(None, description="Terminal states; all of them without.", examples=[["FAILED"]])


_NAME = Field(None, description="What reports call it.", examples=["nightly ETL"])


class RunRule(Runs, extra="forbid"):
    """How long flow runs are kept that it matches and no rule before it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly ETL",
                    "deployments": ["etl/*"],
                    "keep": {"days": 30, "last": 10, "last_success": 1},
                },
                {"flows": ["healthcheck*"], "keep": {"days": 1}, "logs": {"days": 1}},
                {"tags": ["gdpr"], "keep": "forever"},
            ]
        }
    )

    name: str | None = _NAME
    unless: Runs | None = Field(
        None, alias="except", description="Runs that fit all of this are left out."
    )
    keep: Forever | KeepRuns = Field(description="What keeps them: clauses, or forever.")
    logs: Forever | KeepDays | None = Field(
        None, description="What keeps their logs; empty, the retention of logs."
    )


class EventRule(BaseModel, extra="forbid"):
    """How long events are kept that it matches and no rule before it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"events": ["prefect.flow-run.heartbeat"], "keep": {"days": 1, "last": 3}}]
        }
    )

    name: str | None = _NAME
    events: Patterns | None = Field(
        None, description="Types of events; * and ? are wild.", examples=[["prefect.flow-run.*"]]
    )
    resources: Patterns | None = Field(
        None,
        description="Ids of the resource that it happened to; * and ? are wild.",
        examples=[["prefect.flow-run.*"]],
    )
    keep: Forever | KeepEvents = Field(description="What keeps them: clauses, or forever.")


class LogRule(BaseModel, extra="forbid"):
    """How long logs are kept that it matches and no rule before it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"below": "INFO", "loggers": ["httpx*"], "keep": {"days": 3}}]
        }
    )

    name: str | None = _NAME
    below: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | int | None = Field(
        None, description="Logs that do not reach this level.", examples=["INFO"]
    )
    loggers: Patterns | None = Field(
        None, description="Names of loggers; * and ? are wild.", examples=[["httpx*"]]
    )
    keep: Forever | KeepDays = Field(description="What keeps them: days, or forever.")


def filled_in(value: Any) -> Any:
    """Return what somebody filled in: a field of the form that is left empty comes as null."""
    if isinstance(value, list):
        return [filled_in(one) for one in value]
    if isinstance(value, dict):
        return {key: filled_in(one) for key, one in value.items() if one is not None}
    return value


Told = Annotated[list[dict[str, Any]], AfterValidator(filled_in)]
RunRules = Annotated[Told, ShownAs(list[RunRule])]
EventRules = Annotated[Told, ShownAs(list[EventRule])]
LogRules = Annotated[Told, ShownAs(list[LogRule])]
