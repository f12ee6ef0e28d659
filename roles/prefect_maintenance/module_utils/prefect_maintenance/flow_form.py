"""What the form of the flow asks for: the kinds of its parameters beside texts and numbers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from .request.values import BOUNDS


def within(option: str) -> Any:
    """Return what holds a number of the form to the bounds of an option."""
    least, most = BOUNDS[option]
    return Field(ge=least, le=most)


Days = Annotated[int, within("retention_days")]


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
