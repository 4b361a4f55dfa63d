"""`python -m nightlift`, where nightlift is installed."""

import sys

from . import main

sys.exit(main())
