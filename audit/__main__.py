"""`python -m audit` is the command `audit`."""

import sys

from audit.cli import main

sys.exit(main())
