"""`python -m zsl.search --checkpoint FILE --index FOLDER --labels wedding PATHS`: finds images."""

from zsl.commands.search import main

if __name__ == "__main__":
    raise SystemExit(main())
