"""The codes of every problem that the service answers: stable, each with its HTTP status and its title."""

from enum import StrEnum


class Code(StrEnum):
    """A code never changes its meaning: programs may rely on it. `heading` is the title of its problems."""

    status: int
    heading: str

    def __new__(cls, value: str, status: int, heading: str) -> "Code":
        """A text that carries its status and heading."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.status = status
        code.heading = heading
        return code

    BAD_CURSOR = "bad_cursor", 400, "The cursor is not one that a page gave"
    BAD_HEADER = "bad_header", 400, "A header cannot be read"
    BAD_REQUEST = "bad_request", 400, "The request cannot be read"
    IDEMPOTENCY_KEY_MALFORMED = "idempotency_key_malformed", 400, "The Idempotency-Key is malformed"
    LAST_EVENT_ID = "last_event_id_malformed", 400, "The Last-Event-ID is not the number of an event"
    KEY_MISSING = "key_missing", 401, "A key is needed"
    KEY_UNKNOWN = "key_unknown", 401, "The key is unknown or revoked"
    SCOPE_MISSING = "scope_missing", 403, "The key does not have the scope that this needs"
    ROUTE_NOT_FOUND = "route_not_found", 404, "There is no such route"
    STUDY_NOT_FOUND = "study_not_found", 404, "There is no such study"
    TRIAL_NOT_FOUND = "trial_not_found", 404, "There is no such trial"
    LOG_NOT_FOUND = "log_not_found", 404, "There is no such log"
    PRESET_NOT_FOUND = "preset_not_found", 404, "There is no such preset"
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "The route does not have this method"
    NOT_ACCEPTABLE = "not_acceptable", 406, "None of the accepted media types can be answered"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency_key_in_flight", 409, "The first request with this key is still going on"
    WRONG_STATE = "wrong_state", 409, "The present state does not allow this"
    VERSION_CHANGED = "version_changed", 412, "The study has changed since it was read"
    BODY_TOO_LARGE = "body_too_large", 413, "The body is too large"
    MEDIA_TYPE_UNSUPPORTED = "media_type_unsupported", 415, "The body's media type is not supported"
    ENCODING_UNSUPPORTED = "encoding_unsupported", 415, "Compressed bodies are not supported"
    DATA_MISSING = "data_missing", 422, "A data set is not in the catalog"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", 422, "The Idempotency-Key was used for another request"
    INVALID_PARAMETER = "invalid_parameter", 422, "A parameter is refused"
    QUOTA_NEVER_FITS = "quota_never_fits", 422, "The study is larger than the quota"
    SPEC_REFUSED = "spec_refused", 422, "The study is refused"
    QUOTA_EXCEEDED = "quota_exceeded", 429, "The quota is used up for now"
    INTERNAL = "internal", 500, "Something failed here"
    RECORD_CORRUPT = "record_corrupt", 500, "A record file is not the one that was committed"
    REPORT_FAILED = "report_failed", 500, "The report could not be written"
    LEDGER_UNAVAILABLE = "ledger_unavailable", 503, "The ledger cannot be reached"
    NOT_READY = "not_ready", 503, "The service is not ready"
    REPORT_BUSY = "report_busy", 503, "The report is not ready yet"
    STOPPING = "stopping", 503, "The service is stopping"
    LISTENERS_FULL = "listeners_full", 503, "Too many event streams are open"
