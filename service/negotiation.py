"""Which of the media types that a route can answer an Accept header asks for (RFC 9110, 12.5.1)."""

from collections.abc import Sequence

from service.codes import Code
from service.errors import ApiProblem


def negotiated(accept: str | None, offered: Sequence[str]) -> str:
    """The one of `offered` that is liked best; the first of those that are liked alike, or where nothing is asked for.

    Raises:
        ApiProblem: 406, none of them is accepted.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    liked = [(_quality(media_type, ranges), media_type) for media_type in offered]
    best = max(quality for quality, _ in liked)
    if best <= 0:
        raise ApiProblem(Code.NOT_ACCEPTABLE, f"Accept: got {accept[:200]!r}, allowed {', '.join(offered)}")
    return next(media_type for quality, media_type in liked if quality == best)


def _media_range(text: str) -> tuple[str, float]:
    """`text/html;level=1;q=0.5` as (`text/html`, 0.5); one that cannot be read is liked not at all."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name, quality if 0.0 <= quality <= 1.0 else 0.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """What the most specific range that fits says."""
    for pattern in (media_type, media_type.split("/")[0] + "/*", "*/*"):
        for name, quality in ranges:
            if name == pattern:
                return quality
    return 0.0
