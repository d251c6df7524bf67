"""The core scenarios of the repository hold on a store without local paths.

The scenarios are those of the other modules; here their folder is a store in memory.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.repository.repository import Repository
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from tests.conftest import SECRET
from tests.unit.repository import (
    test_crash,
    test_garbage_collection,
    test_index,
    test_round_trip,
)

_CORE = {
    test_round_trip: """
        test_a_disk_of_any_size_comes_back_byte_for_byte
        test_zeros_are_neither_stored_nor_read
        test_an_unchanged_disk_stores_nothing_and_reads_nothing_with_cbt
        test_an_increment_reads_only_the_pieces_around_what_changed
        test_a_resized_disk_is_read_whole_and_still_deduplicated
    """,
    test_index: """
        grown
        test_a_merge_replaces_and_a_sweep_deletes
        test_readers_from_before_a_sweep_read_on
        test_a_listing_outrun_by_a_sweep_is_taken_again
        test_two_merges_at_once_lose_nothing
        test_a_session_merges_its_own_segments_before_it_publishes
    """,
    test_garbage_collection: """
        site thinned
        test_what_is_deleted_whole_leaves_nothing_behind
        test_where_nothing_is_dead_nothing_is_touched
        test_a_second_clean_up_finds_nothing_to_do
        test_an_increment_on_a_backup_whose_groups_were_rewritten_restores
        test_a_reader_follows_chunks_that_moved_into_other_groups
        test_dead_packs_stay_until_what_was_alive_when_they_died_has_ended
        test_a_backup_whose_store_skipped_its_check_gets_its_dropped_packs_back
        test_a_live_chunk_that_the_index_lost_is_found_in_its_pack_again
        test_an_attempt_that_is_over_deletes_nothing
        test_who_may_only_add_cannot_clean_up_nor_forget
        test_who_may_only_add_backs_up_and_is_told_what_is_gone
    """,
    test_crash: """
        half_stored
        test_a_store_is_repeated_after_others_merged_and_swept_what_it_had_stored
        test_a_repeated_store_whose_index_is_lost_makes_it_anew_from_its_packs
        test_a_repeated_store_whose_packs_are_lost_fails
    """,
}
for module, names in _CORE.items():
    globals().update({name: getattr(module, name) for name in names.split()})


@pytest.fixture(autouse=True)
def stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path that a scenario opens as a folder is a store in memory."""
    buckets: dict[Path, MemoryBucket] = {}

    class Store(MemoryStore):
        def __init__(self, root: Path, *_: object) -> None:
            super().__init__(buckets.setdefault(root, MemoryBucket()))
            self.root = root

    for module in _CORE:
        monkeypatch.setattr(module, "Folder", Store)


@pytest.fixture
def folder(tmp_path: Path, stores: None) -> MemoryStore:
    return test_index.Folder(tmp_path / "destination")


@pytest.fixture
def repository(folder: MemoryStore) -> Repository:
    return Repository.init(folder, SECRET)
