"""The README's first journey, block by block, as a person walks it: a fresh clone, over SSH."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from maintenance import FLOW, clear, engine_for
from world import Policy, World, insert

from lab.environments import ROOT
from lab.postgres import Postgres, free_port
from lab.server import PrefectServer, migrate
from lab.ssh import SshTarget, Unavailable

# The target's environment is made from a package index, whose speed is not ours.
pytestmark = pytest.mark.timeout(1800)
ALIAS = "prefect-1.example.com"
# How many runs of a state and an age in days there are, by their name.
RUNS = {
    "old": ("COMPLETED", 40, 12),
    "young": ("COMPLETED", 3, 4),
    "crashed": ("CRASHED", 40, 2),
    "running": ("RUNNING", 40, 3),
}
EVERYTHING = {name: (count, count) for name, (_, _, count) in RUNS.items()}
# What the README says is kept by default; logs older than the policy go with their own age.
KEPT = {"young": (4, 4), "crashed": (2, 0), "running": (3, 3)}
PASSWORD = "p@ss:w/rd%#?'"
BLOCK = re.compile(r"<!-- journey: ([\w-]+) -->\n```bash\n(.*?)```", re.S)
# A line to correct: a name, its value, and a comment that says what it is.
TO_CORRECT = re.compile(r"^([A-Z_]+)=(\S+)( +#.*)$", re.M)


def blocks() -> dict[str, str]:
    """Return the README's blocks by the names that they are marked with."""
    found = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(dict(found)) == len(found), "a name marks two blocks"
    return dict(found)


@dataclass
class Person:
    """Somebody at a terminal in a clone: pastes blocks, corrects lines, types secrets."""

    clone: Path
    home: Path
    target: SshTarget
    types: dict[str, str] = field(default_factory=dict)

    def paste(self, name: str, **corrected: str) -> str:
        """Paste a block with its lines corrected, which works; returns what was shown."""
        code, said = self._pasted(name, corrected)
        assert code == 0, f"{name}:\n{said}"
        return said

    def paste_in_vain(self, name: str) -> str:
        """Paste a block that fails; returns what was shown."""
        code, said = self._pasted(name, {})
        assert code != 0, f"{name}:\n{said}"
        return said

    def _pasted(self, name: str, corrected: Mapping[str, str]) -> tuple[int, str]:
        text = blocks()[name]
        asked = {match[1] for match in TO_CORRECT.finditer(text)}
        assert asked == set(corrected), f"the block {name} has these lines to correct: {asked}"
        text = TO_CORRECT.sub(lambda m: f"{m[1]}={shlex.quote(corrected[m[1]])}{m[3]}", text)
        # What every new terminal needs, as the README says.
        before = "" if name == "prepare" else "".join(
            line + "\n" for line in blocks()["prepare"].splitlines()
            if line.startswith(("source ", "export "))
        )  # fmt: skip
        return self._at_a_terminal(f"set -e\n{before}{text}")

    def type(self, name: str) -> None:
        """Write what the README shows below a block into the editor that the block opens."""
        shown = (ROOT / "README.md").read_text().split(f"<!-- journey: {name} -->")[1]
        lines = shown.split("```yaml\n")[1].split("```")[0].splitlines()
        keys = [line.split(":")[0] for line in lines]
        assert set(keys) <= set(self.types), keys
        (self.home / "typed").write_text("".join(f"{k}: {self.types[k]}\n" for k in keys))
        self.paste(name)

    def _at_a_terminal(self, script: str) -> tuple[int, str]:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=self.clone, env=self._environment(),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        shown = []
        # A terminal whose other end has closed cannot be read any more.
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            shown.append(piece)
        os.close(master)
        return process.wait(), b"".join(shown).decode(errors="replace").replace("\r\n", "\n")

    def _environment(self) -> Mapping[str, str]:
        kept = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "PREFECT_", "VIRTUAL_ENV", "GIT_"))
        }  # fmt: skip
        return {
            **kept,
            **self.target.environment(),
            "HOME": str(self.home),
            "PATH": os.defpath + os.pathsep + "/usr/sbin",
            "EDITOR": f"cp {self.home / 'typed'}",
            "ANSIBLE_NOCOLOR": "1",
        }


@pytest.fixture(scope="module")
def target() -> Iterator[SshTarget]:
    try:
        target = SshTarget(ALIAS).__enter__()
    except Unavailable as why:
        pytest.skip(str(why))
    try:
        yield target
    finally:
        target.__exit__(None, None, None)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this tree would be as a fresh clone; its tools are those of this very run."""
    folder = tmp_path_factory.mktemp("journey") / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in sorted(set(listed.split("\0")) - {"", ".venv", ".cache"}):
        if os.path.lexists(ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    # Older than the tools, so that `make venv` has nothing to do.
    os.utime(folder / "requirements" / "dev.txt", (0, 0))
    return folder


@pytest.fixture
def person(clone: Path, tmp_path: Path, target: SshTarget) -> Person:
    shutil.rmtree(clone / "inventories" / "mine", ignore_errors=True)
    one = Person(clone, tmp_path, target)
    one.paste("prepare")
    return one


@pytest.fixture(scope="module")
def server(
    cluster: Postgres, template: str, start_server_for_session: object
) -> Iterator[PrefectServer]:
    """A server whose database belongs to a role of its own, as those of people do."""
    url = cluster.create_database("journey", template)
    cluster.execute("CREATE ROLE prefect LOGIN PASSWORD %s", values=(PASSWORD,))
    cluster.execute("ALTER DATABASE journey OWNER TO prefect")
    cluster.execute(
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables "
        "WHERE schemaname = 'public' LOOP "
        "EXECUTE format('ALTER TABLE public.%I OWNER TO prefect', t); END LOOP; "
        "ALTER SCHEMA public OWNER TO prefect; END $$",
        "journey",
    )
    with PrefectServer(url) as running:
        yield running
    cluster.drop_database("journey")
    for role in ("prefect_maintenance", "prefect"):
        cluster.execute(f"DROP ROLE IF EXISTS {role}")


def fill(url: str) -> None:
    """Put runs there that the default policy deletes, and some that it keeps, with their logs."""
    world = World(Policy(datetime.now(UTC), {}), 7)
    for name, (state, days, count) in RUNS.items():
        for _ in range(count):
            at = world.policy.now - timedelta(days=days)
            run = world.new_id()
            dates = {"created": at, "updated": at}
            world.rows["flow_run"].append(
                {"id": run, "name": name, "flow_id": FLOW, "state_type": state, "end_time": at}
                | {"state_timestamp": at, **dates}
            )
            world.rows["log"].append(
                {"id": world.new_id(), "name": name, "level": 20, "message": "m", **dates}
                | {"timestamp": at, "flow_run_id": run}
            )
    engine = engine_for(url)
    clear(engine)
    insert(engine, world)
    engine.dispose()


def left(url: str) -> dict[str, tuple[int, int]]:
    """Count runs and logs that are there, by the name of the runs."""
    sql = "SELECT name, count(*) FROM {} GROUP BY name"
    engine = engine_for(url)
    with engine.connect() as connection:
        runs, logs = (
            {
                str(name): int(count)
                for name, count in connection.execute(sa.text(sql.format(table)))
            }
            for table in ("flow_run", "log")
        )
    engine.dispose()
    return {name: (runs.get(name, 0), logs.get(name, 0)) for name in {*runs, *logs}}


def place(url: str) -> str:
    return url.rpartition("@")[2]


def test_with_the_owners_credentials_a_mistake_is_named_before_anything_is_installed(
    person: Person, server: PrefectServer
) -> None:
    fill(server.db_url)
    answer = person.paste("name", SERVER=ALIAS, LOGIN=person.target.login)
    assert "pong" in answer
    given = {"DATABASE": place(server.db_url), "DATABASE_USER": "prefect"}
    person.types["vault_prefect_maintenance_db_password"] = f'"{PASSWORD}"'
    person.type("owner-secret")
    vault = person.clone / "inventories/mine/group_vars/prefect_servers/vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT")

    person.paste("owner", API_URL=f"http://127.0.0.1:{free_port()}/api", **given)
    wrong = person.paste_in_vain("look")
    assert "prefect_maintenance_api_url: nothing answers at" in wrong
    assert not (person.target.home / ".prefect-maintenance").exists()

    person.paste("owner", API_URL=server.api_url, **given)
    look = person.paste("look")
    assert "check only, nothing was changed" in look
    assert left(server.db_url) == EVERYTHING
    done = person.paste("delete")
    assert left(server.db_url) == KEPT
    report = re.search(r"report: (\S+\.json)", done)
    assert report
    assert Path(report[1]).stat().st_size
    assert re.search(r"changed=0\s", person.paste("delete"))
    owner = (person.target.home / ".prefect-maintenance").stat().st_uid
    assert owner == person.target.user.pw_uid
    assert PASSWORD not in wrong + look + done


def test_a_role_of_its_own_is_made_and_does_the_work(
    person: Person, server: PrefectServer, cluster: Postgres
) -> None:
    fill(server.db_url)
    person.paste("name", SERVER=ALIAS, LOGIN=person.target.login)
    person.paste("role", API_URL=server.api_url, DATABASE=place(server.db_url))
    owner = cluster.url("journey").replace("+psycopg2", "")
    person.types["vault_prefect_maintenance_db_password"] = "'n3w'"
    person.types["vault_prefect_maintenance_owner_db_url"] = owner
    person.type("role-secret")
    person.paste("role-make")
    person.paste("delete")
    assert left(server.db_url) == KEPT


def test_a_managed_database_is_maintained_from_the_controller(
    person: Person, server: PrefectServer
) -> None:
    # The environment of the target will do for the controller too, which is the same machine.
    made = person.target.home / ".prefect-maintenance"
    if not made.exists():
        pytest.skip("the environment is made by the first test of this file")
    (person.home / ".prefect-maintenance").symlink_to(made)
    fill(server.db_url)
    person.paste(
        "managed", SERVER="team-a", API_URL=server.api_url, DATABASE=place(server.db_url),
        DATABASE_USER="prefect", SSLMODE="prefer",
    )  # fmt: skip
    person.types["vault_prefect_maintenance_db_password"] = f'"{PASSWORD}"'
    person.type("managed-secret")
    person.paste("delete")
    assert left(server.db_url) == KEPT


def test_an_sqlite_file_of_the_user_is_maintained_and_the_tool_removed(
    person: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = person.target.home / "prefect"
    folder.mkdir()
    url = f"sqlite:///{folder / 'prefect.db'}"
    migrate(url)
    with PrefectServer(url) as server:
        fill(url)
        uid, gid = person.target.user.pw_uid, person.target.user.pw_gid
        for path in (folder, *folder.iterdir()):
            os.chown(path, uid, gid)
        person.paste("name", SERVER=ALIAS, LOGIN=person.target.login)
        person.paste("sqlite", API_URL=server.api_url, FILE=str(folder / "prefect.db"))
        person.paste("delete")
        assert left(url) == KEPT
    person.paste("uninstall")
    assert not (person.target.home / ".prefect-maintenance").exists()


def test_every_block_of_the_journey_is_walked() -> None:
    source = Path(__file__).read_text()
    # Upgrading needs a newer version than this one.
    walked = set(re.findall(r'\.(?:paste|type)\(\s*"([\w-]+)"', source)) | {"upgrade"}
    assert set(blocks()) == walked
