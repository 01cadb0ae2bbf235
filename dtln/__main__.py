"""The command `dtln`: `dtln COMMAND ...`, or `python -m dtln COMMAND ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dtln.commands import COMMANDS
from dtln.commands.run import run


def usage() -> str:
    """What `dtln --help` prints."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        f"usage: dtln COMMAND ...\n\nReal-time speech denoising with DTLN.\n\ncommands:\n{lines}\n\n"
        "`dtln COMMAND --help` explains a command. `dtln --version` prints the version."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from dtln import __version__

        print(f"dtln {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"dtln: unknown command {name!r}: expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return run(COMMANDS[name][0], rest, prog=f"dtln {name}")


if __name__ == "__main__":
    sys.exit(main())
