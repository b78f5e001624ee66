"""``python -m factory_lib.cli``: the console command by the interpreter that runs it."""

import sys

from factory_lib.cli import main

sys.exit(main())
