"""The one exception that a user's mistake raises, and the search for the name that was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake of the user's: one line that names what, where and the mend. Programs print it without a traceback."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """What a library's exception says, for a refusal of ours that must be one line."""
    return " ".join(str(error).split())[:limit]


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean x?"` for the known name closest to `name`, or the list of them all when none is close."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"
