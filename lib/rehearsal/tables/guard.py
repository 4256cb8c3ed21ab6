"""Nothing is ever written to what the configuration calls production, or to a source table."""

from os.path import normpath
from pathlib import Path, PurePosixPath

from rehearsal.errors import ProductionGuardError
from rehearsal.settings import Settings


def refuse_production(settings: Settings) -> None:
    """Raise `ProductionGuardError` if the output lies in production or over a source table."""
    _refuse_schemas(settings)
    output = settings.output
    textfile = settings.notify.prometheus.textfile
    places = [one for one in (output.path, output.scratch, output.report, textfile) if one]
    for place in places:
        for named in settings.production.paths:
            if _inside(place, named):
                raise ProductionGuardError(
                    f"output {place} is production (production.paths holds {named}); "
                    "give Rehearsal a folder of its own"
                )
    for source in (settings.requests, settings.users):
        path = source.path if source is not None else None
        if path and output.path and _inside(output.path, path):
            raise ProductionGuardError(
                f"output.path {output.path} lies in the source table {path}; "
                "source tables are read-only, give Rehearsal a folder of its own"
            )


def _refuse_schemas(settings: Settings) -> None:
    schema = (settings.output.catalog_schema or "").lower()
    for named in settings.production.schemas:
        if schema and f"{schema}.".startswith(f"{named.lower()}."):
            raise ProductionGuardError(
                f"output.schema {schema} is production (production.schemas holds {named}); "
                "give Rehearsal a schema of its own"
            )


def _inside(place: str, folder: str) -> bool:
    return _normal(place).is_relative_to(_normal(folder))


def _normal(place: str) -> PurePosixPath:
    scheme, separator, rest = place.partition("://")
    if not separator:
        scheme, rest = "file", place.removeprefix("file:")
    # Local paths also resolve links, so that a link into production does not slip through.
    path = Path(rest).resolve() if scheme == "file" else Path(normpath(f"/{rest}"))
    return PurePosixPath(scheme, *path.parts[1:])
