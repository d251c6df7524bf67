"""Remedies for the refusals of a PostgreSQL server, by the words of the refusal.

A failed connection has no SQLSTATE in the driver, so the words are the only evidence.
"""

from __future__ import annotations

_LOGIN = (
    "check the user and password of the URL in HAULBACK_DATABASE; ~/.pgpass of the server's user "
    "may have the password"
)
_REMEDIES = (
    ("password authentication failed", _LOGIN),
    ("no password supplied", _LOGIN),
    ("Peer authentication failed", "connect by host and password, or run as the database's user"),
    ("no pg_hba.conf entry", "allow this user, database and address in its pg_hba.conf"),
    ("permission denied for schema", "make this user the owner: ALTER DATABASE name OWNER TO user"),
)
_MISSING = (
    (
        'role "',
        "run the command as the server's user (runuser -u USER -- …), or make the role: "
        "createuser --pwprompt NAME, as the user postgres",
    ),
    ('database "', "make the database: createdb --owner USER NAME, as the user postgres"),
)


def remedy(said: str) -> str:
    """The remedy for a refusal of PostgreSQL, "" for an unknown one."""
    known = [text for words, text in _REMEDIES if words in said]
    if "does not exist" in said and "FATAL" in said:
        known += [text for words, text in _MISSING if words in said.partition("FATAL")[2]]
    return known[0] if known else ""
