"""`haulback report`: reports of backups, and chargeback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from haulback.cli.arguments import MailWords
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, show, size, text
from haulback.cli.times import FORMS, epoch_ms
from haulback.contract.reports import Measure, ReportRequest, SizeFilter
from haulback.errors import Malformed
from haulback.wire import Word

Form = Annotated[Literal["text", "html", "pdf"], Parameter(help="Form of the report.")]
app = App(name="report")
Since = Annotated[str | None, Parameter(name="--from", help=f"Begin: {FORMS}.")]
Until = Annotated[str | None, Parameter(name="--to", help="End, in the same form; absent: now.")]
ToFile = Annotated[Path | None, Parameter(help="File for the report; absent: standard output.")]


@app.default
def report(
    *,
    since: Since = None,
    until: Until = None,
    format: Form = "text",  # noqa: A002  the name of the option
    to_file: ToFile = None,
    output: Output = "table",
) -> None:
    """Report the backups of the last day, or from one time to another."""
    reports, span = connect().reports, (epoch_ms(since, "--from"), epoch_ms(until, "--to"))
    if output == "json":
        dump(reports.get(*span))
        return
    content = reports.file(format, *span)
    if to_file:
        to_file.write_bytes(content)
    elif format == "pdf" and sys.stdout.isatty():
        raise Malformed("--format pdf: name a file with --to-file", field="--to-file")
    else:
        sys.stdout.buffer.write(content)


@app.command
def mail(*to: MailWords, since: Since = None, until: Until = None) -> None:
    """Send the report to mail addresses or to a mailing list; without TO to the default lists."""
    span = (epoch_ms(since, "--from"), epoch_ms(until, "--to"))
    sent = connect().reports.mail(ReportRequest(value=",".join(to)), *span)
    print(f"{sent.title}: to {', '.join(sent.recipients) or 'the default recipients'}")


@app.command
def chargeback(
    *,
    by: Annotated[str, Parameter(help="Group of the sums.")] = "project",
    transfer: Annotated[
        bool, Parameter(negative="", help="Bytes read from machines, not sizes of backups.")
    ] = False,
    since: Since = None,
    until: Until = None,
    output: Output = "table",
) -> None:
    """Sum up bytes by project, virtual-machine, backup-policy, backup-destination, hypervisor,
    hypervisor-cluster or hypervisor-manager.
    """
    measure = Measure.TRANSFER_SIZE if transfer else Measure.BACKUP_SIZE
    span = (epoch_ms(since, "--from"), epoch_ms(until, "--to"))
    rows = connect().reports.chargeback(SizeFilter(groupBy=Word(by)), measure, *span)
    show(rows, (text("name"), size("size")), output)
