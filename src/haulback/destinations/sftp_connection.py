"""SSH connections to SFTP servers, shared by all stores of a process with the same credentials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Lock

import asyncssh

from haulback.contract.destination_types import SftpSettings
from haulback.errors import Misconfigured, Unavailable

LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError, OSError)
_KEEPALIVE_SECONDS, _KEEPALIVES = 15, 4
_IDLE_SECONDS = 120.0  # idle seconds after which a connection is closed
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"  # needs half the CPU time of ChaCha20


class SftpConnection:
    """The SSH connection of a destination, made at the first use and after each loss.

    All stores of the process with the same server and credentials share it.
    """

    def __init__(self, settings: SftpSettings) -> None:
        self._settings = settings
        self._client: asyncssh.SFTPClient | None = None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._opening: asyncio.Lock | None = None
        self._naming: asyncio.Lock | None = None
        self._users, self._closing = 0, None  # type: int, asyncio.TimerHandle | None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """The client; an unused connection is closed after a while."""
        self._opening = self._opening or asyncio.Lock()
        self._users += 1
        if self._closing:
            self._closing.cancel()
        client: asyncssh.SFTPClient | None = None
        try:
            async with self._opening:
                if self._client is None:
                    await self._open()
                client = self._client
            assert client
            yield client
        except (*LOST, TimeoutError):
            # A connection that does not answer stays broken, so a new one is made.
            if self._client is client:
                self.drop()
            raise
        finally:
            self._users -= 1
            if not self._users:
                self._closing = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self.drop)

    @property
    def naming(self) -> asyncio.Lock:
        """The lock that a writer holds from the look-up of a name until the name is used."""
        self._naming = self._naming or asyncio.Lock()
        return self._naming

    def drop(self) -> None:
        """Close the connection at once; the next use makes a new one."""
        connection, self._connection, self._client = self._connection, None, None
        if connection:
            connection.abort()

    async def _open(self) -> None:
        wanted = self._settings
        try:
            self._connection = await asyncssh.connect(
                wanted.host,
                wanted.port,
                username=wanted.user,
                client_keys=[key_of(wanted)] if wanted.key else None,
                password=wanted.password or None,
                known_hosts=known_hosts(wanted),
                encryption_algs=_CIPHERS,
                compression_algs="none",
                connect_timeout=wanted.connectTimeout,
                login_timeout=wanted.connectTimeout,
                keepalive_interval=_KEEPALIVE_SECONDS,
                keepalive_count_max=_KEEPALIVES,
                agent_path=None,
                config=None,
                gss_auth=False,
            )
            opening = self._connection.start_sftp_client()
            self._client = await asyncio.wait_for(opening, wanted.connectTimeout)
        except BaseException as error:
            self.drop()
            raise _refused(error, wanted) from error


_connections: dict[tuple[object, ...], SftpConnection] = {}
_shared = Lock()


def connection_of(settings: SftpSettings) -> SftpConnection:
    who = (settings.host, settings.port, settings.user, settings.key, settings.password)
    key = (*who, settings.knownHosts, settings.connectTimeout)
    with _shared:
        return _connections.setdefault(key, SftpConnection(settings))


def key_of(settings: SftpSettings) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(settings.key.strip() + "\n")
    except asyncssh.KeyEncryptionError as error:
        raise _locked() from error
    except (asyncssh.KeyImportError, ValueError) as error:
        if _is_bare(settings.key.strip()):
            raise Misconfigured(
                "key: this is a public key; give the private key, the file without .pub"
            ) from error
        if "passphrase" in str(error).lower():
            raise _locked() from error
        raise Misconfigured("key: this is no private key in the form of OpenSSH or PEM") from error


def _locked() -> Misconfigured:
    return Misconfigured(
        "key: the key has a passphrase; give one without (`ssh-keygen -p -N '' -f FILE` removes "
        "the passphrase)"
    )


def known_hosts(settings: SftpSettings) -> asyncssh.SSHKnownHosts:
    """The keys that the server may have; a line may be only a key.  Raises Misconfigured."""
    lines = [line.strip() for line in settings.knownHosts.splitlines()]
    place = f"[{settings.host}]:{settings.port}" if settings.port != 22 else settings.host
    full = [f"{place} {line}" if _is_bare(line) else line for line in lines if line]
    try:
        return asyncssh.import_known_hosts("\n".join(full))
    except (asyncssh.KeyImportError, ValueError) as error:
        raise Misconfigured(
            "knownHosts: give the lines that `ssh-keyscan` prints for the server"
        ) from error


def _is_bare(line: str) -> bool:
    return line.startswith(("ssh-", "ecdsa-", "sk-"))


def _refused(error: BaseException, settings: SftpSettings) -> BaseException:
    """The error of a failed connection, as one of `haulback.errors`."""
    place = f"{settings.host}:{settings.port}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Misconfigured(
            f"knownHosts: {place} has a different host key. If the server was "
            "reinstalled, take the key from the server itself; otherwise another machine "
            "answers in its place"
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return Misconfigured(
            f"{place} refuses the user {settings.user}: check `user`, `key` and `password`, and "
            "the file authorized_keys on the server"
        )
    if isinstance(error, asyncssh.ChannelOpenError | asyncssh.SFTPError):
        return Misconfigured(f"{place} offers no SFTP to {settings.user}: enable it on the server")
    if isinstance(error, asyncssh.Error | OSError):
        return Unavailable(
            f"{place} cannot be reached: {text_of(error)}; check `host`, `port` and the network"
        )
    return error


def text_of(error: BaseException) -> str:
    told = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(str(told or type(error).__name__).split())[:200]
