"""`python -m zsl fit ...`, the same as `zsl fit ...` and `python -m zsl.fit ...`."""

from zsl.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
