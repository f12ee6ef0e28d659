"""Two runs at one instant tell the truth about each other, and leave no mark on the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from maintenance import engine_for, request, run_step
from prefect_maintenance.database.connection import connect
from prefect_maintenance.database.one_runner import only_runner
from prefect_maintenance.errors import Busy
from prefect_maintenance.request.settings import Api
from prefect_maintenance.server.api import PrefectApi, open_api
from prefect_maintenance.server.proof import prove_same_server

from lab.server import PrefectServer

# Every mark that is ever left, also those that are gone again.
NOTED = """
CREATE TABLE marks (name text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.marks VALUES (NEW.name); RETURN NEW; END $$;
CREATE TRIGGER note AFTER INSERT ON variable FOR EACH ROW EXECUTE FUNCTION note();
"""


@pytest.fixture
def noted(shared_server: PrefectServer) -> Iterator[PrefectServer]:
    """A server whose database remembers every variable."""
    engine = engine_for(shared_server.db_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(NOTED)
    yield shared_server
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION note CASCADE; DROP TABLE marks")


def names(server: PrefectServer, table: str) -> list[str]:
    with engine_for(server.db_url).connect() as connection:
        return list(connection.execute(sa.text(f"SELECT name FROM {table}")).scalars())


def test_a_run_beside_another_says_who_is_at_work_and_has_left_no_mark(
    noted: PrefectServer,
) -> None:
    with connect(noted.db_url, 5) as other, only_runner(other):
        with pytest.raises(Busy, match="another maintenance run is at work"):
            run_step("purge", request(noted, None, batch_size=50))
        assert names(noted, "marks") == []
    run_step("purge", request(noted, None, batch_size=50))
    assert len(names(noted, "marks")) == 1
    assert names(noted, "variable") == []


def test_a_check_leaves_no_mark(noted: PrefectServer) -> None:
    for step in ("bloat_info", "purge", "delete"):
        run_step(step, request(noted, None, batch_size=50), check=True)
    assert names(noted, "marks") == []


def test_a_proof_within_another_proof_leaves_both_right(shared_server: PrefectServer) -> None:
    class Interrupted(PrefectApi):
        """Another run proves itself to the end just when this one has left its mark."""

        def ask(self, method: str, path: str, **request: Any) -> Any:
            answer = super().ask(method, path, **request)
            if (method, path) == ("POST", "/variables/"):
                prove_same_server(PrefectApi(self.client, self.url), database, write=True)
            return answer

    with connect(shared_server.db_url, 5) as database, open_api(Api(shared_server.api_url)) as api:
        prove_same_server(Interrupted(api.client, api.url), database, write=True)
    assert names(shared_server, "variable") == []


def test_the_mark_of_a_killed_run_is_removed_and_nobody_elses_variable(
    shared_server: PrefectServer,
) -> None:
    mine = ["my_prefect_maintenance_proof", "prefect_maintenance_proof_of_mine"]
    with connect(shared_server.db_url, 5) as database, open_api(Api(shared_server.api_url)) as api:
        for name in (*mine, "prefect_maintenance_proof", f"prefect_maintenance_proof_{'a' * 32}"):
            api.ask("POST", "/variables/", json={"name": name, "value": "v", "tags": []})
        database.run("UPDATE variable SET created = created - interval '2 hours'")
        prove_same_server(api, database, write=True)
        try:
            assert sorted(names(shared_server, "variable")) == mine
        finally:
            for name in mine:
                api.delete("variables/name", name)
