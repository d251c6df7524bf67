"""Certificates for 127.0.0.1: a self-signed one, and one of an authority."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_ADDRESS = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
_AUTHORITY = x509.BasicConstraints(ca=True, path_length=0)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Paths of the certificate and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("localhost")
    made = _begun(name, name, key).add_extension(_ADDRESS, critical=False)
    made = made.add_extension(_AUTHORITY, critical=True)
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(_signed(made, key))
    paths[1].write_bytes(_text_of(key))
    return paths


def of_authority(folder: Path) -> tuple[Path, Path, Path]:
    """Paths of a certificate, of its key, and of the certificate of the authority that signed it.

    Libraries that refuse an authority as the certificate of a server need two certificates.
    """
    signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = _name(f"authority {folder.name}")
    root = _begun(name, name, signer).add_extension(_AUTHORITY, critical=True)
    leaf = _begun(_name("127.0.0.1"), name, key).add_extension(_ADDRESS, critical=False)
    paths = folder / "cert.pem", folder / "key.pem", folder / "authority.pem"
    for path, made in zip((paths[0], paths[2]), (leaf, root), strict=True):
        path.write_bytes(_signed(made, signer))
    paths[1].write_bytes(_text_of(key))
    return paths


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """A certificate of a key without extensions, valid since an hour and for a day."""
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(hours=1))
    return made.not_valid_after(now + datetime.timedelta(days=1))


def _signed(made: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _text_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return key.private_bytes(*form, serialization.NoEncryption())
