"""When asking a service for many texts ends, and whether the Perspective API still runs then."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from detox_ray.score.perspective_requests import GOOGLE

# The last day of the Perspective API, as its makers announced (docs/papers.md, "The Perspective API").
END_OF_SERVICE = datetime(2027, 1, 1, tzinfo=UTC)


def finish_time(texts: int, queries_per_second: float, now: datetime) -> datetime:
    """Return when so many texts are asked."""
    return now + timedelta(seconds=texts / queries_per_second)


def in_words(seconds: float) -> str:
    """Return a duration as people write it, such as ``2 d 3 h`` or ``4 min``."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def date_in_words(moment: datetime) -> str:
    """Return a moment in local time, to the minute."""
    return moment.astimezone().strftime("%A, %d %B %Y, %H:%M")


def end_warning(url: str, finish: datetime) -> str | None:
    """Return a warning if Google's service ends before ``finish``; None for another server."""
    if urlsplit(url).hostname != GOOGLE or finish < END_OF_SERVICE:
        return None
    return (
        f"warning: this ends on {date_in_words(finish)}, but the Perspective API ends on 31 December 2026: ask fewer "
        "texts, the most important file first, or ask Google for a higher quota and give it as --queries-per-second"
    )
