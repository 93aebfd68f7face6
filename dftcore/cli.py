"""What every program does around its work: one clear line for a user's mistake, honest exit status.

Exit 0 only when the work was done, 1 for a refusal or failure, 130 for Ctrl-C, 128 + n for signal n.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence

from dftcore.errors import UserError


class Interrupted(Exception):
    """A stop was asked for by signal and the work has been left in order; carries the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def run_program(program: str, main: Callable[[Sequence[str]], None]) -> int:
    """Run `main(argv)` and turn what it raises into a line on stderr and an exit status; bugs keep their traceback."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        return _say(program, f"error: {error}", 1)
    except Interrupted as error:
        return _say(program, str(error), 128 + error.signal_number)
    except KeyboardInterrupt:
        return _say(program, "stopped by Ctrl-C; run the same command again to go on", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; flushing must not fail again
        return 1
    except OSError as error:
        if _is_disk_full(error):
            where = f" while writing {error.filename}" if error.filename else ""
            return _say(program, f"error: disk full{where}; free some space and run the same command again", 1)
        if error.filename:
            return _say(program, f"error: {error.filename}: {error.strerror}; check the path and its permissions", 1)
        raise
    except Exception as error:
        if _is_disk_full(error):
            return _say(program, "error: disk full; free some space and run the same command again", 1)
        raise
    return 0


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error)  # safetensors reports it as text


def _say(program: str, message: str, status: int) -> int:
    """The line on stderr. Ranks that fail alike each say it, under their number: any of them may be killed first."""
    rank = f"[rank {os.environ['RANK']}] " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""
    print(f"{program}: {rank}{message}", file=sys.stderr, flush=True)
    return status
