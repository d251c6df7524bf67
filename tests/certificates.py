"""Certificates for 127.0.0.1: a self-signed one, and one of an authority."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Paths of the certificate and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, secret


def of_authority(folder: Path) -> tuple[Path, Path, Path]:
    """Paths of a certificate, of its key, and of the certificate of the authority that signed it.

    Libraries that refuse an authority as the certificate of a server need two certificates.
    """
    signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"authority {folder.name}")])
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)

    def begun(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(name)
        made = made.public_key(public).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(hours=1))
        return made.not_valid_after(now + datetime.timedelta(days=1))

    is_authority = x509.BasicConstraints(ca=True, path_length=0)
    root = begun(name, signer.public_key()).add_extension(is_authority, critical=True)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    leaf = begun(own, key.public_key()).add_extension(
        x509.SubjectAlternativeName([address]), critical=False
    )
    paths = folder / "cert.pem", folder / "key.pem", folder / "authority.pem"
    for path, made in zip((paths[0], paths[2]), (leaf, root), strict=True):
        signed = made.sign(signer, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    paths[1].write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
    return paths
