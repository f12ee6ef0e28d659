"""A target over SSH: a server of its own on 127.0.0.1, and an ordinary user to log in as."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .postgres import free_port

# How this machine reaches its package index belongs to the machine, so it holds for its users too.
_OF_THE_MACHINE = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Unavailable(Exception):
    """This machine cannot be a target over SSH; the text says why."""


class SshTarget:
    """A private sshd that lets one ordinary user in with a key, for as long as the block lasts.

    As root the user is made and removed again; otherwise it is whoever runs this.

    Args:
        alias: the name by which `ssh -F config` knows it.
        own: let whoever runs this in, as root too.

    Raises:
        Unavailable: there is no sshd, or the user would have no Python of 3.11 or newer.
    """

    def __init__(self, alias: str, *, own: bool = False) -> None:
        self.alias, self.port, self._own = alias, free_port(), own
        self._listener: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._program = _sshd()
            self.folder = Path(tempfile.mkdtemp(prefix="prefect-lab-ssh-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.folder.chmod(0o755)
            self.sockets = self.folder / "sockets"
            self.sockets.mkdir()
            (self.folder / "home").mkdir()
            made = os.geteuid() == 0 and not self._own
            self.user = _made_user(stack) if made else pwd.getpwuid(os.geteuid())
            self.config = self._write()
            stack.callback(self.cut)
            self.listen()
            stack.callback(self._hang_up)
            self._require_python()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def login(self) -> str:
        """The name of the user."""
        return self.user.pw_name

    def environment(self) -> dict[str, str]:
        """Return what lets Ansible's ssh know the alias, as a person's own configuration does."""
        return {
            "ANSIBLE_SSH_ARGS": f"-F {self.config} -o ControlMaster=auto -o ControlPersist=60s",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets),
        }

    @property
    def home(self) -> Path:
        """The user's home; whoever runs this has an empty one, whose shell does nothing else."""
        return self.folder / "home" if self._own else Path(self.user.pw_dir)

    def _write(self) -> Path:
        """Make keys and configurations of server and client; returns the client's."""
        for name in ("host", "login"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name))
        keys = self.folder / "keys"
        shutil.copy(self.folder / "login.pub", keys)
        keys.chmod(0o644)
        shared = f'"HOME={self.home}" ' if self._own else ""
        shared += " ".join(
            f'"{name}={value}"'
            for name, value in os.environ.items()
            if name.upper().startswith(_OF_THE_MACHINE)
        )
        self._server_config = self.folder / "sshd_config"
        self._server_config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {self.folder / 'host'}\n"
            f"PidFile {self.folder / 'pid'}\n"
            f"AuthorizedKeysFile {keys}\n"
            f"AllowUsers {self.login}\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\n" + (f"SetEnv {shared}\n" if shared else "")
        )
        known = self.folder / "known_hosts"
        public = (self.folder / "host.pub").read_text()
        known.write_text(f"[127.0.0.1]:{self.port} {public}")
        client = self.folder / "ssh_config"
        client.write_text(
            f"Host {self.alias}\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f"  IdentityFile {self.folder / 'login'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {known}\n"
        )
        return client

    def listen(self) -> None:
        """Let people log in, until the connection is cut."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "log").open("a") as log:
            process = self._listener = subprocess.Popen(
                [self._program, "-D", "-e", "-f", str(self._server_config)], stderr=log
            )
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    self.cut()
                    told = (self.folder / "log").read_text()
                    raise RuntimeError(f"sshd did not start:\n{told}") from None
                time.sleep(0.05)

    def cut(self) -> None:
        """End every connection and let nobody log in, as a network that is gone does."""
        process, self._listener = self._listener, None
        if process is None:
            return
        # Stopped first, so that none starts another meanwhile, which would hold the connection.
        os.kill(process.pid, signal.SIGSTOP)
        stopped: list[int] = []
        while new := [session for session in _below(process.pid) if session not in stopped]:
            for session in new:
                with suppress(ProcessLookupError):
                    os.kill(session, signal.SIGSTOP)
            stopped += new
        for session in (*stopped, process.pid):
            with suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)
        process.wait()

    def _hang_up(self) -> None:
        """End the connections that Ansible keeps open for its next task."""
        for path in self.sockets.iterdir():
            subprocess.run(
                ["ssh", "-F", str(self.config), "-o", f"ControlPath={path}", "-O", "exit",
                 self.alias],
                capture_output=True,
            )  # fmt: skip

    def _require_python(self) -> None:
        found = subprocess.run(
            ["ssh", "-F", str(self.config), "-l", self.login, self.alias,
             "python3 -c 'import sys, ensurepip; print(sys.version_info >= (3, 11))'"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if found.returncode == 255:
            told = (self.folder / "log").read_text()
            raise RuntimeError(f"nobody can log in: {found.stderr}\n{told}")
        if found.stdout.strip() != "True":
            raise Unavailable(f"python3 of {self.login} is older than 3.11 or has no ensurepip")


def _below(process: int) -> list[int]:
    """Return the processes that a process has started, and what they have started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _sshd() -> str:
    """Return the path of sshd, installed first where that is CI as root."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    in_ci = os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get")
    if in_ci and not shutil.which("sshd", path=path):
        # It is to be there, not to run.
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        _run("apt-get", "-qq", "update", env=quiet)
        _run("apt-get", "-qq", "install", "--no-install-recommends", "openssh-server",
             "openssh-client", env=quiet)  # fmt: skip
    found = shutil.which("sshd", path=path)
    if not found or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        raise Unavailable("sshd is not installed; install openssh-server")
    return found


def _made_user(stack: ExitStack) -> pwd.struct_passwd:
    name = f"prefect-lab-{os.getpid()}"
    # A password of "*" matches none; without any, sshd takes the account for a locked one.
    _run("useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", name)
    stack.callback(_run, "userdel", "--remove", "--force", name)
    return pwd.getpwnam(name)


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    found = subprocess.run(command, env=env, capture_output=True, text=True)
    if found.returncode:
        print(found.stdout, found.stderr, file=sys.stderr)
        raise RuntimeError(f"{command[0]} failed: {found.stderr.strip()}")
