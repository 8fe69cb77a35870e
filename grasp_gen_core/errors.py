"""What bad input raises; any other exception is a bug and shows as one."""


class InputError(ValueError):
    """Input that isn't accepted: the text names it, and says what is wrong and what is accepted."""
