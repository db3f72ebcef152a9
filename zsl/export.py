"""`python -m zsl.export --checkpoint runs/.../best.ckpt`: the model as a file without zsl."""

from zsl.commands.export import main

if __name__ == "__main__":
    raise SystemExit(main())
