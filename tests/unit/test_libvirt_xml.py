"""Cards and tags are read from a libvirt XML of any origin, or none are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.inventory_sync import ScannedNetworkCard
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.hardware import cards_of, hardware_of
from haulback.libvirt_xml import LARGEST, XML, parse

DOMAIN = """<domain>
<metadata><t:tags xmlns:t="urn:haulback:tags:1">gold, web,gold</t:tags></metadata>
<devices>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>
<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/></interface>
<interface type='direct'><source dev='eth0'/></interface>
<interface type='user'/>
</devices></domain>"""


def test_cards_and_tags_of_an_old_row_are_shown():
    result = hardware_of({XML: DOMAIN, "tags": ["of another platform"]})
    assert result.tags == ["gold", "web"]
    assert result.cards == [
        ScannedNetworkCard("52:54:00:00:00:01", "default"),
        ScannedNetworkCard("52:54:00:00:00:02", "br0"),
        ScannedNetworkCard("", "eth0"),
        ScannedNetworkCard("", ""),
    ]
    cards = cards_of(new_guid(), {XML: DOMAIN})
    assert [(card.number, card.network) for card in cards][1] == (1, "br0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        "<a>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<a>" + "x" * LARGEST,
        7,
        None,
    ],
    ids=range(7),
)
def test_an_xml_that_cannot_be_trusted_shows_no_card_and_no_tag(text):
    definition = {XML: text, "tags": ["kept", 7]}
    assert hardware_of(definition).cards == []
    assert hardware_of(definition).tags == ["kept"]
    assert cards_of(new_guid(), definition) == []
    if isinstance(text, str):
        with pytest.raises(Malformed):
            parse(text)


@given(st.text() | st.text().map(lambda text: f"<domain><devices><interface>{text}</interface>"))
def test_no_text_breaks_the_reading_of_hardware(text: str):
    assert len(hardware_of({XML: text}).cards) <= 100
