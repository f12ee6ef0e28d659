"""TLS with an authority of its own in front of a server."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.server import PrefectServer


class TlsFront:
    """TLS with a private authority in front of a server that speaks none, as a proxy would."""

    def __init__(self, folder: Path, port: int) -> None:
        self.ca, self._chain = _certificates(folder)
        self._port = port
        self.seen: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}/api"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain)
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return  # closed at the end of the test
            threading.Thread(target=self._pass_on, args=(context, plain), daemon=True).start()

    def _pass_on(self, context: ssl.SSLContext, plain: socket.socket) -> None:
        try:
            outer = context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError):
            return  # a client that does not trust the authority hangs up; one test wants that
        inner = socket.create_connection(("127.0.0.1", self._port))
        threading.Thread(target=_pump, args=(inner, outer, []), daemon=True).start()
        _pump(outer, inner, self.seen)


def _pump(source: socket.socket, target: socket.socket, seen: list[bytes]) -> None:
    try:
        while data := source.recv(65536):
            seen.append(data)
            target.sendall(data)
    except OSError:
        pass  # either side may hang up at any time
    finally:
        target.close()


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Make a private authority and a certificate of localhost; returns their files."""
    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        for name in ("private authority", "localhost")
    ]

    def sign(subject: int, extension: x509.ExtensionType) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(names[subject])
            .issuer_name(names[0])
            .public_key(keys[subject].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(extension, critical=subject == 0)
            .sign(keys[0], hashes.SHA256())
        )

    authority = sign(0, x509.BasicConstraints(ca=True, path_length=None))
    own = sign(1, x509.SubjectAlternativeName([x509.DNSName("localhost")]))
    ca, chain = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    chain.write_bytes(
        own.public_bytes(serialization.Encoding.PEM)
        + keys[1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ca, chain


@contextmanager
def tls_front(folder: Path, server: PrefectServer) -> Iterator[TlsFront]:
    front = TlsFront(folder, server.port)
    try:
        yield front
    finally:
        front.close()
