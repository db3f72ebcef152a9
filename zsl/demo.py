"""`python -m zsl.demo --checkpoint FILE`: a page on which any words are asked of images."""

from zsl.commands.demo import main

if __name__ == "__main__":
    raise SystemExit(main())
