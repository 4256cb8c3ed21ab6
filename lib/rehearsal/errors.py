"""Every error a user can mend, each naming what was wrong, where, and the way out."""


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
