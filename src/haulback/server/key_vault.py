"""The key vault seals repository keys, so that the database alone opens no backup."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from pathlib import Path
from shlex import quote

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from haulback.durable_files import DurableFiles, write_private
from haulback.errors import NotFound, WrongKey

_KEY_BYTES, _NONCE_BYTES = 32, 12


class KeyVault:
    """A vault with a key in its own file, readable by the server's user only."""

    def __init__(self, key: bytes, path: Path | None = None) -> None:
        self.path, self._mark = path, hashlib.sha256(key).digest()
        self._cipher = AESGCM(key)
        # Signatures have a derived key of their own, which opens no backup.
        seed = HKDF(SHA256(), _KEY_BYTES, None, b"haulback proof of restore").derive(key)
        self._signer = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._signer.public_key()
        self.public_key = base64.b64encode(public.public_bytes_raw()).decode()

    def sign(self, text: bytes) -> str:
        """An Ed25519 signature in base64."""
        return base64.b64encode(self._signer.sign(text)).decode()

    def is_signed(self, text: bytes, signature: str) -> bool:
        """Whether this server signed these bytes."""
        try:
            raw = base64.b64decode(signature, validate=True)
            self._signer.public_key().verify(raw, text)
        except (InvalidSignature, ValueError):
            return False
        return True

    @classmethod
    def open(cls, path: Path, *, make: bool = True) -> KeyVault:
        """The vault of a key file; with `make` a missing key file is created durably.

        Raises NotFound, or WrongKey for a file without a server key.
        """
        if not path.exists():
            if not make:
                raise NotFound(f"there is no server key {path}; name the server's folder by --data")
            # The key is durable before its first use: without it all keys in the database are lost.
            _make(path)
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise WrongKey(
                f"{path} is not a server key of {_KEY_BYTES} bytes; put a copy of "
                "the file back (docs/howto/when-the-server-key-is-lost.md)"
            )
        return cls(key, path)

    @property
    def is_on_disk(self) -> bool:
        """Whether the key file holds this key; True if the file is unreadable, or without a
        path.
        """
        if self.path is None:
            return True
        try:
            return hashlib.sha256(self.path.read_bytes()).digest() == self._mark
        except FileNotFoundError:
            return False
        except OSError:
            return True  # an unreadable file is no evidence of another key

    def file_bytes(self) -> bytes:
        """The content of the key file, for a sealed copy.

        Raises NotFound when the file is gone, or holds another key than this vault.
        """
        if self.path is None or not self.is_on_disk:
            raise NotFound(f"the server's key file {self.path} is missing or holds another key")
        return self.path.read_bytes()

    def opens(self, owner: str, sealed: str) -> bool:
        """Whether this vault sealed a text for `owner`."""
        try:
            self.unseal(owner, sealed)
        except WrongKey:
            return False
        return True

    def seal(self, owner: str, secret: bytes) -> str:
        """Seal `secret` as text that only this vault opens, and only for `owner`."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret, owner.encode())
        return base64.b64encode(sealed).decode()

    def unseal(self, owner: str, sealed: str) -> bytes:
        """Raises WrongKey when another vault sealed it."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], owner.encode())
        except (InvalidTag, ValueError):
            raise WrongKey("the server's key file does not belong to this database") from None


class CopyCipher:
    """The cipher of the parts of a sealed copy, from the secret of a repository's key file.

    Equal parts at equal places become equal bytes (AES-SIV), so that a repository stores the
    unchanged parts of two copies once.  A sealed part is SEAL bytes longer than its content.
    """

    SEAL = 16

    def __init__(self, secret: bytes, repository: str) -> None:
        info = b"haulback sealed copy 1"
        key = HKDF(SHA256(), 2 * _KEY_BYTES, repository.encode(), info).derive(secret)
        self._cipher = AESSIV(key)

    def seal(self, place: bytes, content: bytes) -> bytes:
        """`content` sealed for its `place`; content must not be empty."""
        return self._cipher.encrypt(content, [place])

    def unseal(self, place: bytes, sealed: bytes) -> bytes:
        """Raises WrongKey unless this key sealed the bytes for this place."""
        try:
            return self._cipher.decrypt(sealed, [place])
        except (InvalidTag, ValueError):
            raise WrongKey("the key does not open this part of the sealed copy") from None


def exposure(path: Path) -> str:
    """The warning about a key file that other users can read, "" for a private or missing file."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return ""
    if not mode & 0o077:
        return ""
    return f"{path} can be used by other users (mode {mode:04o}): run chmod 600 {quote(str(path))}"


def certificate_end(path: Path) -> int | None:
    """The end of a certificate (PEM) in epoch ms, None for a file that holds none."""
    from cryptography import x509  # costs memory that a server without TLS saves

    try:
        made = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
    return int(made.not_valid_after_utc.timestamp() * 1000)


def _make(path: Path) -> None:
    """Create a key file atomically; a key file that another server created first stays."""
    temp = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    write_private(temp, os.urandom(_KEY_BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temp, path)
        DurableFiles().sync_folder(path.parent)
    finally:
        temp.unlink()
