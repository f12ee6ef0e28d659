"""Secrets from a real vault reach the servers and appear nowhere, at any verbosity."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from tools import BIN

from lab import environments
from lab.environments import ROOT
from lab.fleet import Fleet
from lab.postgres import Postgres

PASSWORD = "p@ss/w0rd%#from-the-vault"
KEY = "k3y-from-the-vault"
AUTH = "admin:auth-from-the-vault"
DAYS = 40


@pytest.mark.parametrize("inventory", ["example", "managed"])
def test_the_vault_of_an_example_inventory_is_used_and_shown_nowhere(
    inventory: str, cluster: Postgres, template: str, tmp_path: Path
) -> None:
    """The role is made with the owner's secret, then works with its own."""
    folder = tmp_path / inventory
    shutil.copytree(ROOT / "inventories" / inventory, folder)
    vault = folder / "group_vars" / "prefect_servers" / "vault.yml"
    wanted = yaml.safe_load(vault.with_suffix(".yml.example").read_text())
    with Fleet(cluster, template) as fleet:
        variables = fleet.add("vaulted", DAYS)
        owner = variables["prefect_maintenance_db_url"]
        secrets = {
            "vault_prefect_maintenance_db_password": PASSWORD,
            "vault_prefect_maintenance_api_auth_string": AUTH,
            "vault_prefect_maintenance_api_key": KEY,
            "vault_prefect_maintenance_owner_db_url": owner,
        }
        assert set(secrets) == set(wanted)
        vault.write_text(yaml.safe_dump(secrets))
        key = tmp_path / "vault-password"
        key.write_text("not in the repository")
        run("ansible-vault", "encrypt", "--vault-password-file", key, vault)
        assert vault.read_text().startswith("$ANSIBLE_VAULT")

        hosts = yaml.safe_load((folder / "hosts.yml").read_text())
        one = next(iter(hosts["all"]["children"]["prefect_servers"]["hosts"]))
        port = owner.rsplit(":", 1)[1].split("/")[0]
        mine = folder / "host_vars" / one / "mine.yml"
        mine.parent.mkdir(parents=True)
        main = yaml.safe_load((vault.parent / "main.yml").read_text())
        url = main["prefect_maintenance_db_url"].replace("127.0.0.1:5432/prefect", "{{ database }}")
        mine.write_text(
            yaml.safe_dump(
                {
                    "ansible_connection": "local",
                    "ansible_python_interpreter": sys.executable,
                    "database": f"127.0.0.1:{port}/vaulted",
                    "database_sslmode": "prefer",
                    "prefect_maintenance_db_url": url,
                    "prefect_maintenance_api_url": variables["prefect_maintenance_api_url"],
                    "prefect_maintenance_api_key": "{{ vault_prefect_maintenance_api_key }}",
                    "prefect_maintenance_python": str(environments.prefect()),
                    "prefect_maintenance_home": str(tmp_path / "home"),
                    "prefect_maintenance_vacuum": "none",
                    "prefect_maintenance_report_dir": str(tmp_path / "reports"),
                }
            )
        )
        play = ("-i", folder, "--limit", one, "--vault-password-file", key, "-vvv", "--diff")
        shown = run("ansible-playbook", ROOT / "playbooks" / "privileges.yml", *play)
        assert "CREATE ROLE prefect_maintenance LOGIN" in shown
        broken = () if inventory == "managed" else ("-e", "prefect_maintenance_api_url=http://a:9")
        maintain = ROOT / "playbooks" / "maintain.yml"
        shown += run("ansible-playbook", maintain, *play, *broken, code=2 if broken else 0)
        reports = "".join(
            path.read_text() for path in tmp_path.glob("reports/**/*") if path.is_file()
        )
        assert (fleet.logs("vaulted") == DAYS) is bool(broken)
        assert json.loads((tmp_path / "reports" / "fleet.json").read_text())["status"] == (
            "failed" if broken else "ok"
        )
        for secret in (PASSWORD, quote(PASSWORD, safe=""), KEY, AUTH, "lab-secret"):
            assert secret not in shown + reports + cluster.log()
    cluster.execute("DROP ROLE prefect_maintenance")


def run(program: str, *arguments: str | Path, code: int = 0) -> str:
    """Run one of Ansible's programs; returns all that it printed."""
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd="/",
        env={k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
