"""Work goes to the nodes that reach its hypervisor and destination; the work of a lost node goes to
another node.
"""

from __future__ import annotations

import pytest

from haulback.contract.destinations import ChangedDestination, NewDestination
from haulback.contract.hypervisors import ChangedHypervisor
from haulback.errors import Conflict, Malformed
from haulback.server.services import destinations, hypervisors, maintenance, nodes
from haulback.server.services import tasks as task_service
from haulback.server.services.lost_staging import _LEASES
from haulback.tasks.scheduling import LANES
from haulback.wire import Ref
from tests.unit.server.conftest import EXPORTED, House


def test_a_new_folder_names_its_node_where_several_are_possible(house: House):
    wanted = NewDestination(name="bd9", path="/srv/bd9")
    add = (destinations.add_destination, house.app, wanted, house.user)
    assert "enrol a node first" in house.refuses(Malformed, *add)
    for name in ("n1", "n2"):
        house.node(name)
    told = house.refuses(Malformed, *add)
    assert "node: the server has 2 nodes (n1, n2); name one (--node)" in told


class Shared:
    """A house with the nodes n1, n2 and n3; the destination is reached by those of `stores`."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.nodes = {name: house.node(name) for name in ("n1", "n2", "n3")}

    def refs(self, names: str) -> list[Ref]:
        return [Ref(self.nodes[name].guid) for name in names.split()]

    def store_on(self, names: str) -> None:
        wanted = ChangedDestination(nodes=self.refs(names))
        house = self.house
        destinations.change_destination(house.app, house.destination.guid, wanted, house.user)

    def read_on(self, names: str) -> None:
        wanted = ChangedHypervisor(nodes=self.refs(names))
        house = self.house
        hypervisors.change_hypervisor(house.app, house.hypervisor.guid, wanted, house.user)

    def takers(self, task) -> str:
        """The names of the nodes that are offered a task."""
        offered = {name: self.house.offered(node) for name, node in self.nodes.items()}
        return " ".join(name for name in sorted(offered) if task.guid in offered[name])

    def reason(self, task) -> str:
        waits = task_service.look(self.house.app, task.guid)[1]
        assert waits
        return waits.reason

    def speak(self, *names: str) -> None:
        for name in names:
            nodes.report_staging(self.house.app, self.nodes[name], 1, 1)

    def lose(self, *living: str) -> None:
        """Let the time pass after which a silent node's staging is lost; `living` nodes send
        heartbeats.
        """
        house = self.house
        for _ in range(_LEASES + 2):
            house.clock.now += house.app.lease_ms
            self.speak(*living)
            maintenance.tick(house.app)


@pytest.fixture
def shared(house: House) -> Shared:
    return Shared(house)


def test_an_export_is_offered_to_each_node_that_reaches_source_and_destination(shared: Shared):
    shared.read_on("n1 n2")
    shared.store_on("n2 n3 n1")
    [export] = shared.house.export()
    assert shared.takers(export) == "n1 n2"
    shared.house.refuses(Conflict, shared.house.take, shared.nodes["n3"], export)
    shared.house.take(shared.nodes["n2"], export)
    shared.house.finish(shared.nodes["n2"], export, **EXPORTED)
    store = shared.house.follower(export)
    assert shared.takers(store) == "n2"  # the node that has the staging


def test_a_submission_that_no_node_can_do_is_refused_and_names_the_links(shared: Shared):
    shared.read_on("n1")
    shared.store_on("n2 n3")
    why = shared.house.refuses(Malformed, shared.house.export)
    assert "node n1 reaches hypervisor hv but not destination bd" in why
    assert "node n2 reaches destination bd but not hypervisor hv" in why


def test_a_new_destination_that_no_node_can_fill_is_refused_by_the_names_of_nodes(shared: Shared):
    shared.store_on("n1")
    family = Ref(shared.house.destination.guid)
    wanted = NewDestination(name="far", path="/far", copyOf=family, nodes=shared.refs("n2"))
    with pytest.raises(Malformed, match="node n1 reaches destination bd but not destination far"):
        destinations.add_destination(shared.house.app, wanted, shared.house.user)


def test_a_waiting_task_follows_the_nodes_of_its_places(shared: Shared):
    [export] = shared.house.export()
    assert shared.takers(export) == "n1 n2 n3"
    shared.store_on("n1 n3")
    assert shared.takers(export) == "n1 n3"
    shared.read_on("n2")
    assert shared.takers(export) == ""
    assert "node n1 reaches destination bd but not hypervisor hv" in shared.reason(export)
    shared.store_on("n2")
    assert shared.takers(export) == "n2"
    assert shared.reason(export) == "a node to take it"


def test_tasks_of_a_destination_alone_go_to_any_of_its_nodes(shared: Shared):
    shared.store_on("n1 n3")
    body = {"backupDestinations": [{"guid": shared.house.destination.guid}]}
    for path in ("verify", "remove-old-backups", "connectivity-test"):
        [task] = shared.house.submit(path, body)
        assert shared.takers(task) == "n1 n3", path


def test_a_task_whose_nodes_are_silent_says_so(shared: Shared):
    shared.store_on("n1 n3")
    shared.house.clock.now += 100_000
    shared.speak("n2")
    [export] = shared.house.export()
    since = "has been silent since 2027-01-15 08:00:00 UTC"
    assert (
        shared.reason(export) == f"no node that can run the task is online: n1 {since}, n3 {since}"
    )
    shared.speak("n3")
    assert shared.reason(export) == "a node to take it"


def test_a_task_whose_nodes_are_busy_names_the_limit_until_another_node_is_free(shared: Shared):
    shared.store_on("n1 n2")
    body = {"backupDestinations": [{"guid": shared.house.destination.guid}]}
    tests = [
        shared.house.submit("connectivity-test", body)[0] for _ in range(2 * LANES["upkeep"] + 1)
    ]
    for at, task in enumerate(tests[:-1]):
        assert shared.reason(tests[-1]) == "a node to take it"
        shared.house.take(shared.nodes["n1" if at < LANES["upkeep"] else "n2"], task)
    each = "each node that can run it runs as many upkeep tasks as it may"
    assert shared.reason(tests[-1]) == each
    shared.house.finish(shared.nodes["n1"], tests[0])
    assert shared.reason(tests[-1]) == "a node to take it"


def test_a_node_with_an_export_of_the_destination_cannot_be_taken_from_it(shared: Shared):
    shared.store_on("n1 n2")
    [export] = shared.house.export()
    shared.house.take(shared.nodes["n1"], export)
    why = shared.house.refuses(Conflict, shared.store_on, "n2 n3")
    assert "EXPORT on node n1 uses bd" in why
    shared.house.finish(shared.nodes["n1"], export, **EXPORTED)
    assert "STORE on node n1" in shared.house.refuses(Conflict, shared.store_on, "n2 n3")
    shared.store_on("n1 n3")


def test_a_node_of_a_place_is_removed_only_after_the_place_has_other_nodes(shared: Shared):
    shared.store_on("n1 n2")
    house = shared.house
    why = house.refuses(Conflict, nodes.remove, house.app, house.user, shared.nodes["n2"].guid)
    assert "n2 is one of the nodes of bd" in why


def test_the_running_work_of_a_lost_node_goes_to_another_node(shared: Shared):
    shared.store_on("n1 n2")
    [export] = shared.house.export()
    shared.house.take(shared.nodes["n1"], export)
    shared.house.clock.now += shared.house.app.lease_ms + 1
    maintenance.tick(shared.house.app)
    assert "n2" in shared.takers(export)


def test_an_export_in_the_staging_of_a_lost_node_is_made_again_by_another(shared: Shared):
    shared.store_on("n1 n2")
    store = shared.house.exported(shared.nodes["n1"])
    shared.lose("n2")
    lost = shared.house.row(store)
    assert lost.state == "FAILED"
    assert "its export is in the staging of node n1, which is silent" in (lost.status_info or "")
    plan = task_service.workflow(shared.house.app, lost)
    [export] = [task for task in plan if task.type == "EXPORT" and task.state == "QUEUED"]
    assert "n2" in shared.takers(export)
    shared.house.take(shared.nodes["n2"], export)
    shared.house.finish(shared.nodes["n2"], export, **EXPORTED)
    again = shared.house.follower(export)
    assert shared.takers(again) == "n2"
    assert again.ref("backup") != store.ref("backup")
    shared.house.take(shared.nodes["n2"], again)
    shared.house.finish(shared.nodes["n2"], again, stored=5)
    assert shared.house.state(again) == "FINISHED"


def test_an_export_waits_for_its_node_where_no_other_node_can_make_it(shared: Shared):
    shared.read_on("n1")
    shared.store_on("n1 n2")
    store = shared.house.exported(shared.nodes["n1"])
    shared.lose("n2")
    assert shared.house.state(store) == "QUEUED"
    assert (
        "n1, the only node that can run the task, has been silent since 2027-01-15"
        in shared.reason(store)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": ["n1"], "allNodes": True},
        {"node": "n1", "allNodes": True},
        {"node": "n1", "nodes": ["n2", "n3"]},
    ],
)
def test_members_that_contradict_each_other_are_refused(shared: Shared, wrong):
    named = {
        key: [Ref(shared.nodes[name].guid) for name in value]
        if key == "nodes"
        else Ref(shared.nodes[value].guid)
        if key == "node"
        else value
        for key, value in wrong.items()
    }
    new = NewDestination(name="other", path="/srv/other", **named)
    why = shared.house.refuses(Malformed, destinations.add_destination, shared.house.app, new)
    assert why.startswith(("allNodes:", "node:"))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/srv/vault", "is the folder of"),
        ("/srv/vault/inner", "lies inside the folder of"),
        ("/srv", "holds the folder of"),
    ],
)
def test_a_folder_of_another_destination_is_refused_on_a_common_node(shared, path, words):
    house, one = shared.house, shared.refs("n1")[0]
    destinations.add_destination(
        house.app, NewDestination(name="vault", path="/srv/vault", node=one)
    )
    both = NewDestination(name="other", path=path, nodes=shared.refs("n1 n2"))
    why = house.refuses(Conflict, destinations.add_destination, house.app, both)
    assert f"path: {path} {words} the destination vault" in why
    apart = NewDestination(name="other", path=path, node=shared.refs("n2")[0])
    destinations.add_destination(house.app, apart)  # the same path on another host


def test_settings_that_do_not_say_where_a_destination_lies_can_be_changed(shared: Shared):
    house, node = shared.house, shared.refs("n1")[0]
    new = NewDestination(name="vault", path="/srv/vault", node=node)
    made, _ = destinations.add_destination(house.app, new)
    wanted = ChangedDestination(settings={"share": "NFS", "listingDelay": "45"})
    after = destinations.change_destination(house.app, made.guid, wanted, house.user)
    assert after.config == {"path": "/srv/vault", "share": "NFS", "listingDelay": 45.0}
    for wrong in ({"share": "TAPE"}, {"listingDelay": -1}, {"path": "/srv/other"}):
        wanted = ChangedDestination(settings=wrong)
        house.refuses(
            Malformed, destinations.change_destination, house.app, made.guid, wanted, house.user
        )


def test_a_local_folder_of_several_nodes_has_the_listing_delay_of_a_share(shared: Shared):
    app, user = shared.house.app, shared.house.user

    def added(name: str, nodes: str, **settings: object):
        wanted = NewDestination(
            name=name, path=f"/srv/{name}", settings=settings, nodes=shared.refs(nodes)
        )
        return destinations.add_destination(app, wanted, user)[0]

    assert added("two", "n1 n2").config["listingDelay"] == 120
    assert added("said", "n1 n2", listingDelay=0).config["listingDelay"] == 0
    lone = added("lone", "n1")
    assert "listingDelay" not in lone.config
    wider = ChangedDestination(nodes=shared.refs("n1 n3"))
    changed = destinations.change_destination(app, lone.guid, wider, user)
    assert changed.config["listingDelay"] == 120


def test_a_node_that_died_is_offline_within_a_minute_and_named_by_the_task_that_it_lost(
    shared: Shared,
):
    house = shared.house
    shared.read_on("n1")
    [export] = house.export()
    house.take(shared.nodes["n1"], export)
    house.clock.now += 46_000
    maintenance.tick(house.app)
    lost = house.row(export)
    assert lost.state == "QUEUED"
    assert "the node n1 has been silent since 2027-01-15 08:00:00 UTC" in (lost.status_info or "")
    assert "n1, the only node that can run the task, has been silent since" in shared.reason(export)
    node = nodes.node(house.app, shared.nodes["n1"].guid)
    assert nodes.shown(node, house.clock.now).state.name == "OFFLINE"
