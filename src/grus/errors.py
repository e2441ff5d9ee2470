"""The one error for what a caller or a file got wrong."""


class InputError(ValueError):
    """What was given cannot be; the message says what was expected, what came, and where.

    The command line prints it as one line and exits with code 2.
    """
