"""``factory …``: one command per job to do; a command's module is imported when it is called."""

import sys
from collections.abc import Sequence

from factory_lib.cli import app
from factory_lib.errors import FactoryError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error becomes one sentence on stderr and an exit code."""
    try:
        return app.invoke(list(sys.argv[1:] if argv is None else argv))
    except FactoryError as error:
        sys.stderr.write(f"factory: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
