"""A random world with what rules look at: names, tags, deployments, pools, loggers, resources.

It is the plain world of the seed, dressed by a second random sequence, so that the first one keeps
its meaning.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from world import MICROSECOND, TERMINAL, UNFINISHED, Policy, Row, World, make_world

# Names differ in case, and have what is special to LIKE, to GLOB and to a regular expression.
FLOWS = ("etl", "ETL", "health_check", "healthXcheck", "50%[a-c]")
DEPLOYMENTS = ("nightly", "Nightly", "night_ly", "nightXly", "etl", "x*y", "x[y]", "a.b\\c")
POOLS = ("k8s", "K8s", "process_pool")
TAGS = ("gdpr", "GDPR", "team:a", "team:b", "a_b", "aXb", "50%", "it's", "[a-c]", "\\", "ü?", "*")
DEPLOYMENT_TAGS = ("prod", "gdpr", "team:a")
HOLDS = (
    "keep",
    "hold:",
    "hold: asked by the auditors",
    "keep-until:2027-03-31",
    "keep-until:9999-12-31",
    "keep-until:2026-06-30",
    "keep-until:next year",
    "keep-until:2026-02-30",
    "keep-until:2026-6-1",
    "keep-until:20260101",
    "keep-until:2020-01-01\n",
)
# Holds that ended, or that only look like one.
NO_HOLDS = ("keep-until:2026-06-29", "keep-until:2020-02-29", "Keep", "keeper", "on hold:x")
LOGGERS = ("prefect.flow_runs", "prefect.flowXruns", "httpx", "httpx._client", "HTTPX", "50%")
LOG_LEVELS = (10, 20, 20, 29, 30, 40, 50)
EVENTS = ("lab.run.Completed", "lab.run.heartbeat", "LAB.run.heartbeat", "lab.x_y", "lab.xAy")
RESOURCES = tuple(f"lab.{kind}.{n}" for kind in ("flow-run", "pool", "p_ol", "p%ol") for n in "12")

# What clear() of the tests takes away again begins so.
_IDS = "11111111-0000-4000-8000-{:012d}"


def make_ruled_world(
    policy: Policy, seed: int, *, flow: str, size: int, foreign_keys: bool
) -> World:
    """Make a world in which rules, holds and the general policy have something to decide."""
    world = make_world(policy, seed, flow=flow, size=size, foreign_keys=foreign_keys)
    _Dresser(world, random.Random(f"rules {seed}")).dress(flow)
    return world


def cutoffs(policy: Policy, *options: str) -> list[datetime]:
    """Return the instants at which a rule of these options begins to let go."""
    keeps = [rule.get(key) for option in options for rule in getattr(policy, option) or ()
             for key in ("keep", "logs")]  # fmt: skip
    days = {keep["days"] for keep in keeps if isinstance(keep, dict) and "days" in keep}
    return [policy.now - timedelta(days=number) for number in sorted(days)]


class _Dresser:
    def __init__(self, world: World, chance: random.Random) -> None:
        self.rows, self.policy, self.chance = world.rows, world.policy, chance
        self.made = 0

    def dress(self, flow: str) -> None:
        queues = self._pools()
        flows = [flow, *(self._add("flow", name=name) for name in FLOWS)]
        deployments = self._deployments(flows, queues)
        for run in self.rows["flow_run"]:
            self._dress_run(run, flows, deployments, queues)
        for log in self.rows["log"]:
            log["name"] = self.chance.choice(LOGGERS)
            log["level"] = self.chance.choice(LOG_LEVELS)
            if edges := self._edge("rules", "log_rules"):
                log["timestamp"] = edges
        for event in self.rows["events"]:
            self._dress_event(event)

    def _add(self, table: str, **columns: object) -> str:
        self.made += 1
        row: Row = {"id": _IDS.format(self.made), **columns}
        self.rows[table].append(row)
        return str(row["id"])

    def _pools(self) -> list[str]:
        """Make work pools with two queues each; a queue's name says nothing."""
        pools = [self._add("work_pool", name=name, type="process") for name in POOLS]
        return [
            self._add("work_queue", name=name, work_pool_id=pool)
            for pool in pools
            for name in ("default", "k8s")
        ]

    def _deployments(self, flows: list[str], queues: list[str]) -> list[Row]:
        for flow in flows:
            for name in self.chance.sample(DEPLOYMENTS, 2):
                tags = self._some(DEPLOYMENT_TAGS, 0.2)
                if self.chance.random() < 0.1:
                    tags.append(self.chance.choice((*HOLDS, *NO_HOLDS)))
                queue = self.chance.choice((None, *queues))
                self._add("deployment", name=name, flow_id=flow, tags=tags, work_queue_id=queue)
        return self.rows["deployment"]

    def _some(self, values: tuple[str, ...], likely: float) -> list[str]:
        return [self.chance.choice(values) for _ in range(3) if self.chance.random() < likely]

    def _dress_run(
        self, run: Row, flows: list[str], deployments: list[Row], queues: list[str]
    ) -> None:
        """Give a run a deployment that is there, has been deleted or never was, and tags."""
        chance = self.chance
        run.update(flow_id=chance.choice(flows), deployment_id=None)
        # Few deployments have many runs, so that their newest are worth counting.
        which = chance.random()
        if which < 0.7:
            own = deployments[min(chance.randrange(len(deployments)) for _ in range(3))]
            run.update(flow_id=own["flow_id"], deployment_id=own["id"])
        elif which < 0.8:
            run["deployment_id"] = _IDS.format(chance.choice((900, 901)))
        run["work_queue_id"] = chance.choice((None, *queues))
        run["tags"] = self._some(TAGS, 0.25)
        if chance.random() < 0.08:
            run["tags"].append(chance.choice((*HOLDS, *NO_HOLDS)))
        run["state_type"] = chance.choice((*TERMINAL * 6, *UNFINISHED, None))
        if chance.random() < 0.7:
            run["parent_task_run_id"] = None
        edge = self._edge("rules")
        if edge is None and chance.random() < 0.3:
            edge = self.policy.now - timedelta(days=chance.choice((50, 60)))
        if edge:
            first = next((c for c in ("end_time", "state_timestamp") if run[c]), "end_time")
            run[first] = edge

    def _dress_event(self, event: Row) -> None:
        own = [r for r in self.rows["event_resources"] if r["event_id"] == event["id"]]
        event["event"] = self.chance.choice(EVENTS)
        event["resource_id"] = self.chance.choice(RESOURCES)
        for resource in own:
            resource["resource_id"] = self.chance.choice(RESOURCES)
        if edge := self._edge("event_rules"):
            for resource in own:
                if resource["occurred"] == event["occurred"]:
                    resource["occurred"] = edge
            event["occurred"] = edge

    def _edge(self, *options: str) -> datetime | None:
        """Choose now and then an instant about where a rule begins to let go."""
        edges = cutoffs(self.policy, *options)
        if not edges or self.chance.random() < 0.7:
            return None
        return self.chance.choice(edges) + self.chance.choice((-1, 0, 1)) * MICROSECOND
