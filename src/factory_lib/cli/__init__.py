"""``factory …``: one command per job to do; a command's module is imported when it is called."""

from factory_lib.cli.app import main

__all__ = ["main"]
