"""`python -m examples.digits`: what `make demo` runs."""

import sys

from examples.digits.demo import main

sys.exit(main())
