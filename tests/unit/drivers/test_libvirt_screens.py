"""The definition of a machine names the screens that have a password, and shows no secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from haulback.drivers.libvirt import screens
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.libvirt_xml import parse
from tests.hosts import needs_libvirt

PLACE = "test:///default"  # libvirt's machines in memory, which the connections of a process share
NAME = "screens"
WEB = """<disk type='network' device='cdrom'><driver name='qemu' type='raw'/>
<source protocol='https' name='iso'><host name='h' port='443'/>
<cookies><cookie name='session'>cookie-of-the-owner</cookie></cookies></source>
<target dev='sdc' bus='sata'/><readonly/></disk>"""
VNC = "<graphics type='vnc' port='-1' passwd='%s'/>"
OPEN = "<graphics type='spice' port='-1'/>"
HARD = "a&quot;b&apos;c&gt;d&lt;/"  # a password that looks like the end of its element
META = "<metadata><x:y xmlns:x='urn:x'><graphics xmlns='' passwd='note'/></x:y></metadata>"
MACHINE = (
    f"<domain type='test'><name>{NAME}</name>{META}<memory>8192</memory>"
    "<os><type>hvm</type></os><devices>%s</devices></domain>"
)
Make = Callable[..., Domain]


@pytest.fixture
def made() -> Iterator[Make]:
    """A function that defines a machine with devices, as a caller with all rights sees it."""
    host = Host(PLACE)

    def make(*devices: str) -> Domain:
        return host.define(MACHINE % "".join(devices))

    yield make
    host.connection.lookupByName(NAME).undefine()


def refused(domain: Domain) -> Domain:
    """The machine over a connection to which libvirt shows no secrets."""
    import libvirt

    return Domain(libvirt.openReadOnly(PLACE).lookupByUUIDString(domain.uuid))


def passwords(text: str) -> list[str | None]:
    return [screen.get("passwd") for screen in parse(text).findall("devices/graphics")]


@needs_libvirt
def test_a_definition_shows_neither_passwords_nor_cookies(made: Make):
    domain = made(WEB, VNC % "secret")
    for text in (domain.definition(), domain.locked()):
        assert "cookie" not in text
        assert "secret" not in text
    assert "cookie-of-the-owner" in domain.with_passwords()


@needs_libvirt
def test_a_definition_locks_the_screens_with_a_password_alone(made: Make):
    domain = made(OPEN, VNC % HARD)
    assert sorted(passwords(domain.with_passwords()), key=str) == [None, "a\"b'c>d</"]
    assert sorted(passwords(domain.locked()), key=str) == ["", None]
    assert domain.locked().count("passwd='note'") + domain.locked().count('passwd="note"') == 1


@needs_libvirt
def test_a_machine_without_passwords_has_the_definition_of_libvirt(made: Make):
    domain = made(OPEN, WEB)
    assert domain.locked() == domain.definition()


@needs_libvirt
def test_a_host_that_refuses_to_show_secrets_has_definitions_with_locked_screens(made: Make):
    domain = refused(made(OPEN, WEB, VNC % "secret"))
    assert passwords(domain.definition()) == [None, None]
    assert passwords(domain.locked()) == ["", ""]


def test_screens_that_changed_between_two_questions_are_locked():
    devices = "<domain><devices>%s</devices></domain>"
    assert passwords(screens.locked(devices % OPEN, devices % (OPEN + OPEN))) == [""]
