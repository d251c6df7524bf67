"""Passwords of accounts."""

from haulback.server.store import accounts


def test_unknown_logins_are_compared_with_a_hash_of_the_present_parameters():
    assert not accounts._HASHER.check_needs_rehash(accounts._NOBODY)
    assert not accounts.check_password(accounts._NOBODY, "nobody has this password")
