"""The template of a run's name is checked before it is laid down."""

from __future__ import annotations

import pytest
from prefect_maintenance.errors import SettingsError
from prefect_maintenance.flow import run_name
from prefect_maintenance.request.run_name import RUN_NAME, check_run_name
from prefect_maintenance.schedule import deployment

BAD = [
    "nightly-{day}", "{", "}", "{}", "{0}", "{host.__class__}", "{host[0]}", "{host!r}",
    "{host:>99999999999}", "{date:{time}}", "{ date}",
]  # fmt: skip


@pytest.mark.parametrize("template", BAD)
def test_a_bad_template_is_refused_before_the_server_is_asked(template: str) -> None:
    asked = {
        "api_url": "http://127.0.0.1:1/api", "name": "never-made", "path": "/nowhere",
        "environment": {RUN_NAME: template},
    }  # fmt: skip
    with pytest.raises(SettingsError, match=r"use only \{date\}, \{time\}, \{host\}") as refused:
        deployment(asked, check=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("template", ["maintenance-{date}", "{host} {time}", "plain", "{{day}}"])
def test_a_good_template_names_the_run(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_run_name(template)
    monkeypatch.setenv(RUN_NAME, template)
    assert "{date}" not in run_name()
    assert run_name()
