"""Runs the command as ``python -m ppinfra_async._cli``."""

import sys

from ppinfra_async._cli import main

sys.exit(main())
