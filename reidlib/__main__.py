"""`python -m reidlib`: see `reidlib.cli`."""

from reidlib.cli import main

if __name__ == "__main__":
    main()
