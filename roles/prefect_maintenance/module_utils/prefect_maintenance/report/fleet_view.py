"""What the page of a rollout shows, as plain data; made of the summary as its JSON stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..units import count, size
from .compare import of_statuses
from .history import Run, before
from .host_view import Band, Card
from .plots import Plot

# What a summary of an earlier version does not say.
_HOST: dict[str, Any] = {
    "host": "", "status": "ok", "finished": "", "check_mode": False, "failure": "", "deleted": {},
    "bytes_before": 0, "bytes_after": 0, "bytes_given_back": 0, "overdue": None, "warnings": (),
    "started": "", "seconds": 0.0, "report": "", "working": None, "needs": (),
}  # fmt: skip
_WORST = ("failed", "partial", "not reached", "ok")


@dataclass(frozen=True)
class Server:
    """A server of the rollout.

    Attributes:
        h: as the summary has it.
        page: address of its own page, or nothing.
        now: bytes of its database; None when nobody measured them.
        since: bytes more than after its run before; None when that is unknown.
        statuses: of its last runs.
    """

    h: Mapping[str, Any]
    page: str
    gone: int
    now: int | None
    since: int | None
    statuses: Plot


@dataclass(frozen=True)
class FleetView:
    """Everything that the template draws."""

    summary: Mapping[str, Any]
    band: Band
    cards: tuple[Card, ...]
    servers: tuple[Server, ...]


def fleet_view(
    summary: Mapping[str, Any], runs: Mapping[str, Sequence[Run]], pages: Collection[str]
) -> FleetView:
    """Return what the page shows; those that need somebody first, then the largest."""
    hosts = [{**_HOST, **host} for host in summary["hosts"]]
    servers = [_server(host, runs.get(host["host"], ()), pages) for host in hosts]
    servers.sort(key=_urgency)
    return FleetView(summary, _band(summary, hosts), _cards(summary, servers), tuple(servers))


def _urgency(server: Server) -> tuple[int, bool, bool, int, str]:
    h = server.h
    well = h["working"] is not False
    return (_WORST.index(h["status"]), well, not h["needs"], -(server.now or 0), h["host"])


def _server(host: Mapping[str, Any], runs: Sequence[Run], pages: Collection[str]) -> Server:
    page = str(host["report"]).removesuffix(".json") + ".html"
    now = host["bytes_after"] or None
    known = [run.bytes_after for run in before(runs, host["started"]) if run.bytes_after]
    since = now - known[-1] if now and known and host["started"] else None
    return Server(
        host,
        quote(page) if host["report"] and page in pages else "",
        sum(host["deleted"].values()),
        now,
        since,
        of_statuses(runs),
    )


def _band(summary: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]]) -> Band:
    servers = summary["servers"]
    counts = ", ".join(
        f"{servers[key]} {key.replace('_', ' ')}"
        for key in ("ok", "partial", "failed", "not_reached")
        if servers.get(key) or key == "ok"
    )
    lines = [f"{counts}, of {servers['total']}."]
    told = summary.get("verdict", {}).get("text")
    lines += [f"{told[:1].upper()}{told[1:]}."] if told else []
    lines += [f"No further wave began: {summary['stopped']}."] if summary.get("stopped") else []
    due = [host for host in hosts if host["overdue"]]
    if due:
        worst = max(due, key=lambda host: host["overdue"]["days_past"])
        days, table = worst["overdue"]["days_past"], worst["overdue"]["table"]
        lines.append(
            f"Rows that should have gone are left on {len(due)} of them; furthest behind is "
            f"{worst['host']} with {days:,.1f} days in {table}."
        )
    if summary["status"] != "ok":
        return Band("bad", "Servers need you", tuple(lines))
    if summary["check_mode"]:
        return Band("info", "Check only: nothing was changed", tuple(lines))
    if due or any(host["needs"] or host["working"] is False for host in hosts):
        return Band("warn", "Every server succeeded, and something needs you", tuple(lines))
    return Band("ok", "Every server succeeded", tuple(lines))


def _cards(summary: Mapping[str, Any], servers: Sequence[Server]) -> tuple[Card, ...]:
    check = summary["check_mode"]
    gone = sum(summary["deleted"].values())
    total = sum(server.now or 0 for server in servers)
    measured = sum(server.now is not None for server in servers)
    compared = [server.since for server in servers if server.since is not None]
    more = f"of {measured:,} databases that were measured"
    if compared:
        grown = sum(compared)
        said = "larger" if grown > 0 else "smaller"
        more += f"; {size(abs(grown))} {said} than after the runs before"
    return (
        Card("Given back", size(summary["bytes_given_back"]), "in this rollout"),
        Card("Rows that would go" if check else "Rows deleted", count(gone), "in this rollout"),
        Card("All databases", size(total), more),
    )
