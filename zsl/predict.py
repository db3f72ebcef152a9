"""`python -m zsl.predict --checkpoint FILE --labels "dog, beach" PATHS`: tags images."""

import sys

from zsl.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
