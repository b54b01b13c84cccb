"""Certificates and their keys, signed by themselves."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)


def certificate(folder: Path, name: str, days: int = 3650) -> dict[str, str]:
    """The settings of a new certificate for `name`, which ends so many days after NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=365))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, no_passphrase = serialization.Encoding.PEM, serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "cert.key").write_bytes(key.private_bytes(pem, form, no_passphrase))
    return {
        "certificateFile": str(folder / "cert.pem"),
        "certificateKeyFile": str(folder / "cert.key"),
    }
