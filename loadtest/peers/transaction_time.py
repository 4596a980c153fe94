"""RFC 3339 to whole microseconds since 1970."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(text):
    """Parses an instant with an offset; ValueError when it is none."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("expected an offset such as Z")
    return (instant - EPOCH) // MICROSECOND
