"""A PayPal of our own: its authority, the certificate it signs with, and the address it is fetched from."""

import json
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

SIGNER = "messageverificationcerts.paypal.com"
CERT_PATH = "/v1/notifications/certs/CERT-local"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority(now: datetime, name: str = "Daybook local authority") -> Issued:
    """A certificate authority that nobody else trusts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = _certificate(name, name, key, now).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = builder.add_extension(usage, critical=True)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def leaf(issuer: Issued, name: str, now: datetime, days: int = 30) -> Issued:
    """A certificate for ``name``, valid from a day before ``now`` for that many days."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer_name = issuer.certificate.subject
    common = issuer_name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    certificate = (
        _certificate(name, str(common), key, now, days)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
    return Issued(certificate, key)


def _certificate(
    subject: str, issuer: str, key: rsa.RSAPrivateKey, now: datetime, days: int = 30
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


class FakePayPal:
    """Serves its signing certificate at ``cert_url`` over TLS; ``folder`` holds the files that TLS needs."""

    def __init__(self, port: int, folder: Path, now: datetime) -> None:
        self.authority = authority(now)
        self.signer = leaf(self.authority, SIGNER, now)
        server = leaf(self.authority, "localhost", now)
        pair = folder / "paypal-server.pem"
        pair.write_bytes(server.pem + server.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self.signer.pem))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"localhost:{self._server.server_address[1]}"
        self.cert_url = f"https://{self.host}{CERT_PATH}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def simulator(self, webhook_id: str) -> str:
        """What another process needs to sign as this PayPal does, as JSON."""
        return json.dumps(
            {
                "cert_url": self.cert_url,
                "key": self.signer.key_pem.decode(),
                "webhook_id": webhook_id,
            }
        )


def _handler(pem: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == CERT_PATH
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(pem) if known else 0))
            self.end_headers()
            self.wfile.write(pem if known else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the app's own lines tell of every webhook."""

    return Handler


def utc_now() -> datetime:
    return datetime.now(UTC)
