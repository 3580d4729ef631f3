"""The Python client of a warmup-bench server, and nothing that the server itself is made of."""

from service.client.client import Client
from service.client.errors import (
    ApiError,
    ClientError,
    ServerUnreachable,
    StrangeAnswer,
    SubmitUnanswered,
    WaitTimeout,
)
from service.client.events import Event
from service.client.models import Catalog, Counts, ExtendedStudy, Preset, Study, StudyWithSpec, Trial, TrialSummary

__all__ = [
    "ApiError",
    "Catalog",
    "Client",
    "ClientError",
    "Counts",
    "Event",
    "ExtendedStudy",
    "Preset",
    "ServerUnreachable",
    "StrangeAnswer",
    "Study",
    "StudyWithSpec",
    "SubmitUnanswered",
    "Trial",
    "TrialSummary",
    "WaitTimeout",
]
