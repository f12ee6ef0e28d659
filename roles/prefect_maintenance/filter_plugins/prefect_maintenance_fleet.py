# Copyright (c) 2026 the prefect_maintenance authors
# MIT License (see LICENSE)
"""What a rollout comes to: a short record of each server, and all of them as one summary.

Runs on the controller. The records are all that is kept of a server until the end, so that a
fleet of thousands fits into its memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from ansible.module_utils.common.text.formatters import bytes_to_human
from ansible.utils.display import Display

SCHEMA = 1
# With more servers than this, those with nothing to tell share one line on the screen.
LISTED = 200
# Names of summaries, beside which the reports of the hosts lie.
_RESERVED = ("fleet", "fleet-schedule")
_LONGEST = 200
STATUSES = ("ok", "partial", "failed", "not reached")


def answer(given: Any, otherwise: Any) -> Any:
    """Return the answer to a question, or what holds when it was left blank; 0 is an answer."""
    return otherwise if given is None or not str(given).strip() else given


def template_fault(template: str) -> str:
    """Return the template of a run's name when it has a placeholder that nobody fills in."""
    left = re.sub(r"\{(date|time|host)\}|\{\{|\}\}", "", str(template))
    return str(template) if "{" in left or "}" in left else ""


def warned(text: str) -> str:
    """Show a text as a warning, which no module of Ansible's own does; returns it."""
    Display().warning(text)
    return text


def file_name(host: str, kind: str = "") -> str:
    """Return a file's name, without its ending, for the report of a host.

    It is the host's own name wherever that can be. Whatever could leave the folder or meet
    another report's name is written as a percent sign and its bytes.
    """
    name = "".join(s if re.fullmatch(r"[\w.:@+\[\]-]", s) else quote(s, safe="") for s in host)
    if name[:1] in ("", ".", "-", ":", "@", "+"):
        name = f"%{ord(name[0]):02X}{name[1:]}" if name else "%"
    if name in _RESERVED or name.endswith("-report"):
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    if len(name.encode()) > _LONGEST:
        name = f"{name[: _LONGEST // 4]}%{sha256(host.encode()).hexdigest()[:16]}"
    return name + kind


def record(
    report: Mapping[str, Any] | None,
    failure: str = "",
    instant: str = "",
    check_mode: bool = False,
) -> dict[str, Any]:
    """Return what the rollout remembers of a server, from its report as far as there is one."""
    report = report or {}
    verdict = report.get("verdict") or {}
    database = report.get("database", {})
    before, after = database.get("bytes_before", 0), database.get("bytes_after", 0)
    deleted = {table: rows for table, rows in report.get("deleted", {}).items() if rows}
    status = report.get("status", "ok")
    if failure and status == "ok":
        status = report.get("status_if_lost", "failed")
    return {
        "status": status,
        # An end because no window was open is no failure.
        "goes_on": "" if failure or report.get("errors") else report.get("goes_on", ""),
        "finished": instant,
        "check_mode": check_mode,
        "failure": _printable(" ".join(failure.split())),
        "deleted": deleted,
        "bytes_before": before,
        "bytes_after": after,
        "bytes_given_back": max(0, before - after),
        "oldest": _oldest(report.get("tables", ()), "oldest_after"),
        "overdue": _oldest(report.get("tables", ()), "oldest_due"),
        "working": verdict.get("working"),
        "needs": list(verdict.get("needs", ())),
        "warnings": list(report.get("warnings", ())),
        "seconds": report.get("seconds", 0.0),
        "started": report.get("started", ""),
    }


def stopped(records: Mapping[str, Mapping[str, Any]], limit: float) -> str:
    """Return why no further wave may begin, or nothing."""
    tried = [one for one in records.values() if one]
    failed = sum(not _well(one) for one in tried)
    if 100 * failed <= float(limit) * len(tried):
        return ""
    return (
        f"{failed} of {len(tried)} {_servers(len(tried))} failed, more than "
        f"prefect_maintenance_max_fail_percentage allows ({float(limit):g} %)"
    )


def fleet(
    records: Mapping[str, Mapping[str, Any]], limit: float, check_mode: bool, instant: str
) -> dict[str, Any]:
    """Return the rollout as data; a server without a record was not reached."""
    missed = {**record(None, "", instant, check_mode), "status": "not reached"}
    hosts = [
        {"host": host, "report": f"{file_name(host)}.json", **(one or missed)}
        for host, one in records.items()
    ]
    deleted: dict[str, int] = {}
    for host in hosts:
        for table, rows in host["deleted"].items():
            deleted[table] = deleted.get(table, 0) + rows
    return {
        "schema": SCHEMA,
        "check_mode": check_mode,
        **_counted(hosts),
        "stopped": stopped(records, limit) if not all(records.values()) else "",
        "finished": instant,
        "deleted": deleted,
        "bytes_given_back": sum(host["bytes_given_back"] for host in hosts),
        "hosts": hosts,
    }


def merged(summary: Mapping[str, Any], earlier: str, inventory: Sequence[str]) -> dict[str, Any]:
    """Return the summary with the servers that this run left out, as an earlier run left them.

    Args:
        summary: of this run; what it says beside `hosts`, `servers` and `status` stays.
        earlier: text of the file that the summary replaces; one that is no summary is ignored.
        inventory: every server that there is, with or without a limit.
    """
    ran = {host["host"]: host for host in summary["hosts"]}
    kept = {host["host"]: host for host in _hosts(earlier)}
    hosts = [found for name in inventory if (found := ran.get(name) or kept.get(name))]
    return {**summary, **_counted(hosts), "hosts": hosts}


def artifacts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the summary that a job may carry: totals, who failed, what is needed."""
    short, hosts = {k: v for k, v in summary.items() if k != "hosts"}, summary["hosts"]
    failed = {h["host"]: h["failure"] or h["status"] for h in hosts if not _well(h)}
    needs = {h["host"]: h["needs"] for h in [h for h in hosts if h["needs"]][:LISTED]}
    return {**short, "failed": failed, "needs": needs}


def lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the summary for people: a line a server, the failed ones last, then the totals."""
    hosts = summary["hosts"]
    good = [host for host in hosts if _well(host)]
    bad = [h for h in hosts if h["status"] in ("partial", "failed") and not _well(h)]
    quiet = [h for h in good if not h["deleted"] and not h["bytes_given_back"]]
    quiet = [
        h
        for h in quiet
        if h["status"] == "ok" and not h["warnings"] and not h.get("overdue") and not h["needs"]
    ]
    folded = quiet if len(hosts) > LISTED else []
    shown = [host for host in good if host not in folded] + bad
    width = max(6, *(len(host["host"]) for host in shown), 0)
    check = summary["check_mode"]
    found = [
        "Prefect maintenance of the fleet" + (": check only, nothing was changed" * check),
        "",
        f"  {'server':<{width}}  {'status':<8}{'would go' if check else 'rows gone':>13}"
        f"{'given back':>12}  {'oldest row':<26}warnings",
    ]
    for host in shown:
        found.append(
            f"  {host['host']:<{width}}  {host['status']:<8}{sum(host['deleted'].values()):>13,}"
            f"{_bytes(host['bytes_given_back']):>12}  {_age(host):<26}{len(host['warnings']):>8}"
        )
        if host["failure"]:
            found.append(f"  {'':<{width}}  {host['failure']}")
        if host["goes_on"]:
            opens = host["goes_on"].replace("T", " ")
            found.append(f"  {'':<{width}}  goes on in the next window, which opens {opens}")
        for need in host["needs"]:
            found.append(f"  {'':<{width}}  needs you: {need['text']}: {need['do']}")
    if folded:
        found.append(f"  {len(folded)} more {_servers(len(folded))} had nothing to do")
    left = [host["host"] for host in hosts if host["status"] == "not reached"]
    if left:
        why = summary["stopped"] or "the run ended before their turn"
        found += ["", f"  not reached: {len(left)} {_servers(len(left))}; {why}"]
        found.append(f"    {', '.join(left[:10])}{', ...' if len(left) > 10 else ''}")
    verdict = [f"  {summary['verdict']['text']}"] if summary["verdict"]["text"] else []
    return [_printable(line) for line in (*found, "", *verdict, f"  {_totals(summary)}")]


def _well(host: Mapping[str, Any]) -> bool:
    """Tell whether nothing failed on a server."""
    return host["status"] == "ok" or bool(host.get("goes_on"))


def _counted(hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many servers ended how, where retention works, and what all that comes to."""
    counts = {status: sum(host["status"] == status for host in hosts) for status in STATUSES}
    return {
        "status": "ok" if all(map(_well, hosts)) else "failed",
        "verdict": _verdict(hosts),
        "servers": {"total": len(hosts), **{k.replace(" ", "_"): n for k, n in counts.items()}},
    }


def _hosts(earlier: str) -> list[dict[str, Any]]:
    """Return the servers of an earlier summary; one that had no time of its own has the file's."""
    try:
        found = json.loads(earlier)
        own = {"finished": found["finished"], "check_mode": found["check_mode"], "goes_on": ""}
        return [{**own, **host} for host in found["hosts"]]
    except (ValueError, KeyError, TypeError):
        return []


def _verdict(hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return on how many servers retention works, as numbers and in words; none when unknown."""
    found = [host.get("working") for host in hosts]
    works, not_on = found.count(True), [h["host"] for h in hosts if h.get("working") is False]
    unknown = len(hosts) - works - len(not_on)
    named = ", ".join(not_on[:3]) + (f" and {len(not_on) - 3} more" if len(not_on) > 3 else "")
    said = [f"retention works on {works} of {len(hosts)} {_servers(len(hosts))}"]
    said += [f"not on {named}"] * bool(not_on) + [f"unknown on {unknown}"] * bool(unknown)
    text = _printable(", ".join(said)) if works or not_on else ""
    return {"text": text, "working": works, "not_working": len(not_on), "unknown": unknown}


def _totals(summary: Mapping[str, Any]) -> str:
    servers = summary["servers"]
    done = f"{sum(summary['deleted'].values()):,} rows"
    given = f"{_bytes(summary['bytes_given_back'])} given back"
    done += " would go" if summary["check_mode"] else f" gone, {given}"
    counts = [
        f"{servers[key]} {key.replace('_', ' ')}"
        for key in ("ok", "partial", "failed", "not_reached")
        if servers[key] or key == "ok"
    ]
    return f"{servers['total']} {_servers(servers['total'])}: {', '.join(counts)}; {done}"


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _oldest(tables: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any] | None:
    """Return the table whose oldest row lies furthest behind its cutoff.

    Args:
        tables: of a report.
        key: "oldest_after", any row that is left; "oldest_due", one that should have gone.
    """
    dated = [t for t in tables if t.get(key) and t.get("cutoff")]
    ages = [(_days(t["cutoff"]) - _days(t[key]), t) for t in dated]
    if not ages:
        return None
    past, table = max(ages, key=lambda one: one[0])
    return {
        "table": table["name"],
        "oldest": table[key],
        "cutoff": table["cutoff"],
        "days_past": round(max(0.0, past), 2),
    }


def _days(instant: str) -> float:
    return datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp() / 86400


def _age(host: Mapping[str, Any]) -> str:
    if not host["oldest"]:
        return "-"
    if not (due := host.get("overdue")):
        return "as the policy says"
    return f"{due['days_past']:,.1f} d past ({due['table']})"


def _bytes(number: int) -> str:
    text = str(bytes_to_human(number)).replace(".00 ", " ").replace("Bytes", "B")
    return re.sub(r" ([KMGTPEZY])B$", r" \1iB", text)


def _servers(number: int) -> str:
    return "server" if number == 1 else "servers"


class FilterModule:
    """The filters by the names that the role uses."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them."""
        return {
            "prefect_maintenance_answer": answer,
            "prefect_maintenance_template_fault": template_fault,
            "prefect_maintenance_file_name": file_name,
            "prefect_maintenance_warned": warned,
            "prefect_maintenance_record": record,
            "prefect_maintenance_stopped": stopped,
            "prefect_maintenance_fleet": fleet,
            "prefect_maintenance_merged": merged,
            "prefect_maintenance_artifacts": artifacts,
            "prefect_maintenance_lines": lines,
        }
