"""The steps in their order, and the one way in which both doors carry one out."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import MaintenanceError
from ..errors import Stopped as StoppedError
from ..events import Event, Events, Listener, Stopped, Waiting, Warned
from ..pace.budget import Budget
from ..pace.governors import Governor
from ..pace.pace import Pace
from ..pace.stop_file import StopFile
from ..pace.windows import Windows
from ..report.plain import failed, with_waits
from ..report.prometheus import Stands
from ..report.report import SCHEMA
from ..request.masking import Mask
from ..request.options.limits import BULK_LIMIT
from ..request.secrets import secrets_of
from ..request.settings import Settings
from . import textfile
from .delete import delete_objects
from .inspect import bloat_info
from .outcome import Outcome, put_off
from .purge import purge_rows
from .reclaim import vacuum
from .restore import restore_rows
from .role import provide_role

# By the name of the step; the words of people beside those of a run's own steps.
STEPS: dict[str, Callable[[Settings, Pace], Outcome]] = {
    "role": provide_role,
    "bloat_info": bloat_info,
    "purge": purge_rows,
    "delete": delete_objects,
    "vacuum": vacuum,
    "restore": restore_rows,
}
LINE = {
    "bloat_info": "Measure the database",
    "purge": "Purge logs, events and orphans",
    "delete": "Delete runs and artifacts",
    "vacuum": "Give the space back",
}


@dataclass(frozen=True)
class Answer:
    """What a door gives on of a step; no text in it holds a secret.

    Attributes:
        report: of the run so far, as plain data; also after a failure.
        answers: of the step itself.
        warnings: those that are new with this step.
        failure: why the step failed, in one line.
        fault: the traceback of a fault of this tool.
        mask: takes secrets out of further texts.
    """

    changed: bool
    report: dict[str, Any]
    summary: list[str]
    answers: Mapping[str, Any]
    before: Mapping[str, int]
    after: Mapping[str, int]
    warnings: tuple[str, ...]
    failure: str | None
    fault: str | None
    mask: Mask = field(repr=False)

    def warned(self, warning: str) -> Answer:
        """Return the answer with one more warning, which an earlier step may have given too."""
        text, given = self.mask.text(warning), self.report.get("warnings", ())
        if text in given:
            return self
        report = {**self.report, "warnings": [*given, text]}
        return replace(self, report=report, warnings=(*self.warnings, text))


def privileges_for(vacuum_mode: str) -> list[str]:
    """Name the steps whose privileges are looked for before the first changes anything."""
    _, *later = LINE
    return [step for step in later if step != "vacuum" or vacuum_mode != "none"]


def announced(step: str, vacuum_mode: str) -> list[str]:
    """Name the steps that a step is told are to follow."""
    return {"bloat_info": privileges_for(vacuum_mode), "purge": ["delete"]}.get(step, [])


def batch_size(step: str, asked: int) -> int:
    """Return the rows of one batch in a step: the API deletes only so many objects at once."""
    return min(asked, BULK_LIMIT) if step == "delete" else asked


def carry_out(
    step: str,
    request: Mapping[str, Any],
    *,
    check: bool,
    listener: Listener | None = None,
    governors: Iterable[Governor] = (),
    secrets: Iterable[str] = (),
) -> Answer:
    """Carry out a step of a request; raises nothing but what ends the process.

    The file of the metrics, where one is asked for, tells how the run stands afterwards.

    Args:
        step: one of `STEPS`.
        request: flat, as a module's options or a flow's parameters give it.
        check: only say what would be done.
        listener: told what happens meanwhile.
        governors: asked between two batches, beside the request's own limits.
        secrets: texts that must not be shown, beside those of the request.
    """
    answer = _answer(
        step, request, check=check, listener=listener, governors=governors, secrets=secrets
    )
    folder = request.get("textfile_dir")
    if check or not folder:
        return answer
    warning = textfile.write(Path(folder), answer.report, _stands(step, request))
    return answer.warned(warning) if warning else answer


def _stands(step: str, request: Mapping[str, Any]) -> Stands:
    """Tell what is known after a step that was carried out, failed or not.

    A step that continues nothing and announces no other is a run of its own.
    """
    first, *_, last = LINE
    alone = not request.get("before") and not (request.get("report") or {}).get("steps")
    if alone and step == first:
        return "measured"
    return "ended" if alone or step == last else "begun"


def _answer(
    step: str,
    request: Mapping[str, Any],
    *,
    check: bool,
    listener: Listener | None,
    governors: Iterable[Governor],
    secrets: Iterable[str],
) -> Answer:
    so_far = request.get("report") or {}
    report: dict[str, Any] = {"schema": SCHEMA, "check_mode": check, **so_far}
    mask = Mask.of(secrets)
    try:
        settings = Settings.parse(request, check=check)
    except MaintenanceError as error:
        return _failed(step, report, str(error), mask, remedy=error.remedy)
    mask = Mask.of({*secrets, *secrets_of(settings)})
    told_to = _masked(listener, mask) if listener else None
    pace = Pace(Events(told_to), (*governors, *_limits(settings)))
    waited = pace.events.waited
    try:
        outcome = _outcome(step, settings, pace)
    except MaintenanceError as error:
        return _failed(step, with_waits(report, waited), str(error), mask, remedy=error.remedy)
    except Exception as error:
        # A fault of this tool: its text and its traceback may quote anything.
        fault = f"{type(error).__name__}: {' '.join(str(error).split())}; report this fault"
        return _failed(step, with_waits(report, waited), fault, mask, traceback.format_exc())
    told = with_waits(outcome.report.as_json(), waited)
    return Answer(
        changed=outcome.changed,
        report=mask.sentences(told),
        summary=[mask.text(line) for line in outcome.summary],
        answers=mask.sentences(outcome.answers),
        before=outcome.before,
        after=outcome.after,
        warnings=tuple(
            mask.text(text)
            for text in outcome.report.warnings
            if text not in report.get("warnings", ())
        ),
        failure=mask.text(str(outcome.failure)) if outcome.failure else None,
        fault=None,
        mask=mask,
    )


def _outcome(step: str, settings: Settings, pace: Pace) -> Outcome:
    try:
        return STEPS[step](settings, pace)
    except StoppedError as stopped:
        if stopped.goes_on is None:
            raise
        return put_off(settings, step, stopped)


def _masked(listener: Listener, mask: Mask) -> Listener:
    """Take secrets out of the sentences that a listener may show."""

    def tell(event: Event) -> None:
        match event:
            case Waiting() | Stopped():
                event = replace(event, why=mask.text(event.why))
            case Warned():
                event = replace(event, text=mask.text(event.text))
        listener(event)

    return tell


def _limits(settings: Settings) -> list[Governor]:
    limits = settings.limits
    stop_file = [StopFile(limits.stop_file)] if limits.stop_file else []
    windows = [Windows(limits.windows)] if limits.windows else []
    return [*stop_file, *windows, Budget(limits.max_runtime)]


def _failed(
    step: str,
    report: Mapping[str, Any],
    why: str,
    mask: Mask,
    fault: str | None = None,
    remedy: str = "",
) -> Answer:
    told = mask.sentences(failed(report, f"{step}: {why}", remedy))
    return Answer(
        changed=False, report=told, summary=[], answers={}, before={}, after={}, warnings=(),
        failure=mask.text(why), fault=mask.text(fault) if fault else None, mask=mask,
    )  # fmt: skip
