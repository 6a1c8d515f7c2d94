"""Errors that a user can mend: one sentence with what was given, what is allowed, what to do."""


class EffaceError(Exception):
    """Base of every error that the command line prints as one sentence."""


class Stopped(KeyboardInterrupt):  # noqa: N818
    """A signal stopped the work; the sentence, if any, says how to go on. No error to be mended."""

    def __init__(self, sentence: str, signal: int) -> None:
        super().__init__(sentence)
        self.signal = signal


class RequestError(EffaceError):
    """What is to be forgotten does not fit the model or the folder."""


class ModelError(EffaceError):
    """A model cannot be read, or cannot do what is asked of it."""


class ConfigError(EffaceError):
    """A recipe or a setting is wrong."""


class DataError(EffaceError):
    """Images, reference statistics or a classifier cannot be read."""


class RunError(EffaceError):
    """A run cannot go on: something is not finite, collapsed, or the disk refused."""
