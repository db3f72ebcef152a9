"""`python -m zsl.predict --checkpoint FILE --labels "dog, beach" PATHS`: tags images."""

from zsl.commands.predict import main

if __name__ == "__main__":
    raise SystemExit(main())
