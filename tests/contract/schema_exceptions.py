"""Schemathesis checks that are skipped for some operations, each with the reason.

The operation "*" means all operations.
"""

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("positive_data_acceptance", "*"): (
        "a schema cannot say that a window must not be closed, that a guid must exist, or that a "
        "path must be absolute: such requests are 400, 404 or 409"
    ),
    ("negative_data_rejection", "*"): (
        "the codec is tolerant because clients in the field are: unknown members and query "
        "parameters are ignored, numbers may be text, references may be whole records"
    ),
    ("ignored_auth", "*"): (
        "asks again with one of two credentials left in place, and takes the answer for a hole: "
        "tests/contract/test_access.py walks every operation without a token"
    ),
    ("missing_required_header", "*"): "no header is required besides the token",
    ("unsupported_method", "*"): (
        "/tasks/{guid} and the literal paths beside it answer different methods: a TRACE is 405 "
        "all the same, which tests/contract/test_transport.py asks for"
    ),
    ("use_after_free", "*"): "stateful runs are not made: tests/model does that better",
    ("ensure_resource_availability", "*"): "stateful runs are not made: tests/model does that",
}
# Operations that would stop the test server.
LEFT_OUT: dict[str, str] = {
    "POST /session/logout": "would end the session that the run uses; test_transport.py has it",
    "POST /nodes/{guid}/token": "would fence the node that the run uses if it guessed its guid",
}
