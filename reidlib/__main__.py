"""`python -m reidlib`: see `reidlib.cli`."""

import sys

if __name__ == "__main__":
    try:
        from reidlib.cli import main
    except KeyboardInterrupt:  # imports take their time, too
        sys.exit(130)
    main()
