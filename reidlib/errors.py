"""Errors a user can act on.

Everything `reidlib` raises on purpose derives from `ReidlibError`. The command line prints the
message alone, without a traceback, so a message names the file and says what was expected.
"""


class ReidlibError(Exception):
    """Base of all errors raised on purpose; `exit_status` is what the command line returns."""

    exit_status = 2


class UsageError(ReidlibError):
    """An argument that cannot be honored: unknown profile, paper, dataset, option value."""


class DataError(ReidlibError):
    """A dataset, annotation, image or weight file that is missing or not what it should be."""


class DeviceError(ReidlibError):
    """A device that was asked for and is not there."""


class StoreError(ReidlibError):
    """The results folder cannot be written or read."""

    exit_status = 1


class TrainingError(ReidlibError):
    """A training that cannot go on, for instance because its loss is not a number."""

    exit_status = 1
