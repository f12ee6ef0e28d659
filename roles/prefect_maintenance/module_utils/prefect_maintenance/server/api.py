"""The Prefect API, through Prefect's own client: it knows authentication, CSRF, TLS, retries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from ..errors import ApiError, ConnectionFailed, Unsupported
from ..request.instants import iso
from ..request.settings import Api
from .patience import Patience
from .profile import keeper, profile_of


@dataclass
class PrefectApi:
    """An open client; every request goes through `ask`."""

    client: SyncPrefectClient
    url: str
    patience: Patience = field(default_factory=Patience)
    bulk: bool = True

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Send a request and return the decoded answer, or None for an empty one.

        Raises:
            ConnectionFailed: the server cannot be reached or refuses the credentials.
            ApiBusy: it asks to be called later, and the client is not to wait for that.
            ApiError: it answered with an error, or is no Prefect API.
        """
        try:
            answer = self.client.request(method, path, **request)  # type: ignore[arg-type]
        except httpx.HTTPStatusError as error:
            raise self._refused(error.response) from None
        except httpx.HTTPError as error:
            why = " ".join(f"{type(error).__name__} {error}".split())
            raise ConnectionFailed(
                f"cannot reach the Prefect API at {self.url}: {why}; "
                "check api_url and that the server runs"
            ) from None
        if answer.is_error:
            raise self._refused(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise ApiError(
                f"{self.url} answers, but not as Prefect's API does; check api_url, it ends in /api"
            ) from None

    def version(self) -> str:
        """Return the version of the server.

        Raises:
            Unsupported: it is older than Prefect 3.
        """
        version = str(self.ask("GET", "/admin/version"))
        major = version.split(".", 1)[0]
        if not major.isdigit() or int(major) < 3:
            raise Unsupported(
                f"the Prefect server at {self.url} is {version}; "
                "this tool supports Prefect 3.4 and newer: upgrade the server"
            )
        return version

    def read(self) -> None:
        """Read what a dashboard reads, as lightly as that can be done."""
        self.ask("POST", "/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1})

    def find(self, path: str) -> Any:
        """Return an object, or None where there is none."""
        try:
            return self.ask("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def vacuum_service(self) -> Mapping[str, Any] | None:
        """Return the settings of Prefect's own vacuum service (3.6.19 and newer), or None."""
        answer = self.ask("GET", "/admin/settings")
        service = answer.get("server", {}).get("services", {}).get("db_vacuum")
        return service if isinstance(service, dict) else None

    def delete_runs(
        self, ids: Sequence[str], states: Sequence[str], cutoff: datetime, untagged: bool = False
    ) -> bool:
        """Delete the flow runs among `ids` that still are in `states` and before the cutoff.

        The filter names ids, states and age every time: an empty one would delete anything. A run
        that got a parent meanwhile is not matched. There is no deletion without a filter here:
        DELETE /flow_runs/<id> asks for nothing.

        Args:
            ids: at most 50 flow runs.
            states: terminal states of the policy, or of the rule that decides about them.
            cutoff: the end time must lie before it.
            untagged: none of them may have a tag by now, which could hold it.

        Returns:
            Whether the server can delete with a filter: before Prefect 3.6.16 it cannot, and
            nothing was deleted.
        """
        guard: dict[str, Any] = {
            "operator": "and_",
            "id": {"any_": list(ids)},
            "state": {"operator": "and_", "type": {"any_": list(states)}},
            "end_time": {"before_": iso(cutoff)},
            "parent_task_run_id": {"is_null_": True},
        }
        if untagged:
            guard["tags"] = {"operator": "and_", "is_null_": True}
        try:
            body = {"flow_runs": guard, "limit": len(ids)}
            self.ask("POST", "/flow_runs/bulk_delete", json=body)
        except ApiError as error:
            if error.status not in (404, 405):
                raise
            self.bulk = False
        return self.bulk

    def delete(self, kind: str, row: str) -> None:
        """Delete one object; one that is gone already is no error."""
        try:
            self.ask("DELETE", f"/{kind}/{row}")
        except ApiError as error:
            if error.status != 404:
                raise

    def _refused(self, answer: httpx.Response) -> ApiError | ConnectionFailed:
        status = answer.status_code
        if status in (401, 403):
            return ConnectionFailed(
                f"the Prefect API at {self.url} asks for credentials ({status}); "
                "set api_auth_string, api_key or api_headers"
            )
        return ApiError(
            f"the Prefect API answered {status} to {answer.request.method} "
            f"{answer.request.url.raw_path.decode()}; "
            + ("look at the server's log" if status >= 500 else "check api_url, it ends in /api"),
            status,
        )


@contextmanager
def open_api(api: Api) -> Iterator[PrefectApi]:
    """Open the client for one step.

    Raises:
        ConnectionFailed: the server cannot be reached.
    """
    patience = Patience()
    with profile_of(api) as headers:
        try:
            opened = get_client(
                sync_client=True,
                httpx_settings={
                    "headers": dict(api.headers or {}),
                    "event_hooks": {
                        "request": [keeper(api, headers)],
                        "response": [patience.heed],
                    },
                },
            )
        except OSError as error:
            raise ConnectionFailed(
                f"api_ca_cert {api.ca_cert} cannot be read: {error.strerror}; name a file on the "
                "target that the user of the play can read"
            ) from None
        with opened as client:
            yield PrefectApi(client=client, url=api.url, patience=patience)
