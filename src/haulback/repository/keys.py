"""The repository's key: created by init, wrapped by a passphrase or a key file, printable as a
recovery kit.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from haulback.errors import Malformed, WrongKey
from haulback.units import counted

KEY_BYTES = 32
ID_BYTES = 20
_NONCE_BYTES = 12
SEAL_BYTES = _NONCE_BYTES + 16  # a nonce, and the tag of AES-256-GCM
# OWASP's 2023 minimum for Argon2id with one lane, rounded up; the upper bounds stop a hostile
# configuration from asking for all memory.
_MEMORY_KIB, _ITERATIONS, _MEMORY_MAX_KIB, _ITERATIONS_MAX = 65536, 3, 1 << 20, 64
# Each slot costs a computation of Argon2id; the limit bounds the time of an opening.
_SLOTS_MAX = 16
_ENCLOSED = "server secret"
_KIT_KEY = re.compile(r"^\s*key\s*$", re.MULTILINE | re.IGNORECASE)
_KIT_LETTERS = 56  # base 32 of the key and its checksum
_KIT_REPOSITORY = re.compile(r"repository ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class Slot(msgspec.Struct, frozen=True):
    """The master key wrapped by one secret; `wrapped` is nonce and AES-256-GCM ciphertext."""

    kind: Literal["passphrase", "keyfile"]
    salt: bytes
    wrapped: bytes
    memory_kib: int = _MEMORY_KIB
    iterations: int = _ITERATIONS


@dataclass(frozen=True)
class Secret:
    """A user's secret: a passphrase, or the bytes of a key file."""

    kind: Literal["passphrase", "keyfile"]
    value: bytes

    @classmethod
    def passphrase(cls, text: str) -> Secret:
        if not text:
            raise Malformed("the passphrase is empty; name one with at least one character")
        return cls("passphrase", text.encode())

    @classmethod
    def keyfile(cls, path: Path) -> Secret:
        """Read a key file: 64 hex digits.  Raises Malformed for any other content."""
        try:
            text = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise Malformed(
                f"cannot read key file {path}: {why}; name the file that "
                "`haulback destination key` wrote"
            ) from None
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            raise Malformed(
                f"{path} is not a key file, which holds 64 hex digits; name the file that "
                "`haulback destination key` wrote"
            )
        return cls("keyfile", bytes.fromhex(text))


def make_keyfile(path: Path) -> None:
    """Write a new random key file, readable by its owner only and durable before its first use."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:
        file.write(os.urandom(KEY_BYTES).hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


class Keys:
    """The keys derived from the 32-byte master key of one repository.

    `repository` is its guid if a recovery kit names it.
    """

    def __init__(self, master: bytes, repository: str | None = None) -> None:
        if len(master) != KEY_BYTES:
            raise Malformed("a master key must have 32 bytes")
        self.master, self.repository = master, repository
        self._chunk = self._derive("chunk id")
        self._index = self._derive("index segment")

    @classmethod
    def generate(cls) -> Keys:
        return cls(os.urandom(KEY_BYTES))

    def chunk_id(self, data: bytes | bytearray | memoryview) -> bytes:
        """The id of a chunk: 20 bytes of keyed BLAKE3; it reveals nothing without the key."""
        return blake3(data, key=self._chunk).digest(length=ID_BYTES)

    def segment_hasher(self) -> blake3:
        """A keyed hasher for index files, whose name is their hash."""
        return blake3(key=self._index, max_threads=blake3.AUTO)

    def seal(self, purpose: str, name: bytes, data: bytes, head: bytes = b"") -> bytes:
        """Nonce and AES-256-GCM ciphertext of `data`, bound to its purpose and name, after the
        plain bytes `head`.
        """
        nonce = os.urandom(_NONCE_BYTES)
        text = AESGCM(self._derive(purpose, name)).encrypt(nonce, data, name)
        return b"".join((head, nonce, text))

    def seal_into(self, purpose: str, name: bytes, data: memoryview, target: memoryview) -> None:
        """Write what `seal` returns into `target`, which is SEAL_BYTES longer than `data`."""
        nonce = os.urandom(_NONCE_BYTES)
        target[:_NONCE_BYTES] = nonce
        cipher = AESGCM(self._derive(purpose, name))
        cipher.encrypt_into(nonce, data, name, target[_NONCE_BYTES:])

    def unseal(self, purpose: str, name: bytes, sealed: bytes | memoryview) -> bytes:
        """The plain data.  Raises InvalidTag unless `seal` made `sealed` for that purpose and
        name.
        """
        # Views are used because a slice of bytes is a copy, made while no other thread can run.
        nonce, text = memoryview(sealed)[:_NONCE_BYTES], memoryview(sealed)[_NONCE_BYTES:]
        if len(text) < 16:
            raise InvalidTag
        return AESGCM(self._derive(purpose, name)).decrypt(nonce, text, name)

    def unseal_into(
        self, purpose: str, name: bytes, sealed: bytes | memoryview, target: memoryview
    ) -> memoryview:
        """Write what `unseal` returns to the beginning of `target`.  Raises InvalidTag as `unseal`
        does.
        """
        nonce, text = memoryview(sealed)[:_NONCE_BYTES], memoryview(sealed)[_NONCE_BYTES:]
        if len(text) < SEAL_BYTES - _NONCE_BYTES:
            raise InvalidTag
        plain = target[: len(sealed) - SEAL_BYTES]
        AESGCM(self._derive(purpose, name)).decrypt_into(nonce, text, name, plain)
        return plain

    def enclose(self, secret: bytes) -> bytes:
        """A secret of the server, sealed by the master key, so that a recovery kit alone can read
        it.
        """
        return self.seal(_ENCLOSED, b"", secret)

    def disclose(self, enclosed: bytes) -> bytes:
        """The secret that `enclose` sealed.  Raises WrongKey for the secret of another
        repository.
        """
        try:
            return self.unseal(_ENCLOSED, b"", enclosed)
        except InvalidTag:
            raise WrongKey(
                "the kit or key does not open the copy: it belongs to another repository"
            ) from None

    def wrap(self, secret: Secret) -> Slot:
        salt, nonce = os.urandom(16), os.urandom(_NONCE_BYTES)
        slot = Slot(secret.kind, salt, b"")
        sealed = AESGCM(_wrapping_key(slot, secret)).encrypt(nonce, self.master, b"slot")
        return Slot(secret.kind, salt, nonce + sealed)

    @classmethod
    def unwrap(cls, slots: list[Slot], secret: Secret) -> Keys:
        """The keys from the first slot that the secret opens.  Raises WrongKey otherwise."""
        why = f"this {secret.kind} does not open the repository"
        for slot in slots[:_SLOTS_MAX]:
            if slot.kind != secret.kind:
                continue
            try:
                key = AESGCM(_wrapping_key(slot, secret))
                return cls(key.decrypt(slot.wrapped[:12], slot.wrapped[12:], b"slot"))
            except WrongKey as error:
                why = error.message
            except (InvalidTag, ValueError, OverflowError):  # a damaged salt, nonce or number
                continue
            except MemoryError:
                why = (
                    "the key slot asks for more memory than this machine has; open the "
                    "repository on a larger one"
                )
        raise WrongKey(why)

    def kit(self, repository: str) -> str:
        """The recovery kit: a text to print and lock away, which opens the repository without any
        other secret.
        """
        body = self.master + blake3(self.master).digest(length=3)
        code = base64.b32encode(body).decode()
        lines = [code[i : i + 4] for i in range(0, len(code), 4)]
        rows = "\n".join("  " + " ".join(lines[i : i + 7]) for i in range(0, len(lines), 7))
        return f"Haulback recovery kit\nrepository {repository}\nkey\n{rows}\n"

    @classmethod
    def from_kit(cls, text: str) -> Keys:
        """Parse a recovery kit, with any line ends.  Raises Malformed if it is mistyped."""
        text = "\n".join(text.splitlines())
        code = "".join(_KIT_KEY.split(text)[-1].replace("\ufeff", "").split()).upper()
        if len(code) != _KIT_LETTERS:
            raise Malformed(
                f"the key of the recovery kit has {counted(len(code), 'letter')} instead of "
                f"{_KIT_LETTERS}, a missing or mistyped letter; compare it with the printed kit"
            )
        try:
            body = base64.b32decode(code)
        except ValueError:
            raise Malformed(
                "the key of the recovery kit has a mistyped letter; compare it with the printed kit"
            ) from None
        if len(body) != KEY_BYTES + 3 or blake3(body[:32]).digest(length=3) != body[32:]:
            raise Malformed(
                "the key of the recovery kit has a mistyped letter; compare it with the printed kit"
            )
        named = _KIT_REPOSITORY.search(text.lower())
        return cls(body[:32], named[1] if named else None)

    def _derive(self, purpose: str, name: bytes = b"") -> bytes:
        context = blake3(self.master, derive_key_context=f"haulback 2026 v1 {purpose}")
        return context.update(name).digest() if name else context.digest()


def _wrapping_key(slot: Slot, secret: Secret) -> bytes:
    if secret.kind == "keyfile":
        return blake3(
            secret.value + slot.salt, derive_key_context="haulback 2026 v1 key file"
        ).digest()
    if not 8 <= slot.memory_kib <= _MEMORY_MAX_KIB or not 1 <= slot.iterations <= _ITERATIONS_MAX:
        raise WrongKey("the key slot asks for an unreasonable amount of memory or time")
    return Argon2id(
        salt=slot.salt,
        length=KEY_BYTES,
        iterations=slot.iterations,
        lanes=1,
        memory_cost=slot.memory_kib,
    ).derive(secret.value)
