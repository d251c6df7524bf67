"""Retention of rules over the API: previews and confirmations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from haulback.client.calls import Calls
from haulback.contract.retention_preview import (
    RetentionConfirmation,
    RetentionPreview,
    RetentionPreviewRequest,
)
from haulback.wire import Ref


class RuleRetentions:
    """Retention of rules."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def preview(self, wanted: RetentionPreviewRequest) -> RetentionPreview:
        """The backups that a saved or drafted rule keeps or removes, in parts of about 10,000
        backups.
        """
        return self._calls.one(RetentionPreview, "POST", "/retention/preview", wanted)

    def previews(self, wanted: RetentionPreviewRequest) -> Iterator[RetentionPreview]:
        """All parts of a preview, one request each."""
        while True:
            part = self.preview(wanted)
            yield part
            if part.after is None:
                return
            wanted = msgspec.structs.replace(wanted, after=part.after)

    def confirm(self, rules: Iterable[str] | None = None) -> None:
        """Allow the retention of rules to remove backups; without rules, of all rules that wait."""
        refs = None if rules is None else [Ref(guid) for guid in rules]
        self._calls.done("POST", "/retention/confirm", RetentionConfirmation(rules=refs))
