"""Column names as Spark takes them."""


def quoted(name: str) -> str:
    """Return a name that Spark reads as one identifier, whatever characters it holds."""
    return "`" + name.replace("`", "``") + "`"
