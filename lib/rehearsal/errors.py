"""Every error a user can mend, each naming what was wrong, where, and the way out."""

import re


class RehearsalError(Exception):
    """Base of all errors raised on purpose; its message is fit to print alone."""


class SettingsError(RehearsalError):
    """The configuration is unusable; lists every fault with its key."""


class MachineError(RehearsalError):
    """The machine lacks something: Java, a package, a network on first use."""


class SourceError(RehearsalError):
    """A source table or one of its mapped columns is missing or of the wrong type."""


class ContractError(RehearsalError):
    """Rows do not fit the table contract they are written to, or a slice is missing."""


class ModelError(RehearsalError):
    """A model cannot be loaded, or returns something other than one output per request."""


class ProductionGuardError(RehearsalError):
    """A write would reach what the configuration calls production or a source table."""


def without_secrets(text: str) -> str:
    """Return the text without the passwords, tokens and queries of the URLs in it.

    The user of `abfss://container@account...` is part of the address, and stays.
    """
    bare = re.sub(r"(?<=://)[^\s/?#:]*:[^\s/?#]*@|(?<=https://)[^\s/?#]*@", "", text)
    return re.sub(r"(://[^\s?#'\"]*)[?#][^\s'\"]*", r"\1", bare)
