"""Requests joined with profiles, offering every column a model may ask for."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from rehearsal.settings import Settings
from rehearsal.tables.source import REQUEST_KEYS


def with_profiles(requests: DataFrame, users: DataFrame | None) -> DataFrame:
    """Return the requests with profile attributes; a user without a profile keeps nulls."""
    return requests if users is None else requests.join(users, "user_id", "left")


def offer_own_names(requests: DataFrame, settings: Settings) -> DataFrame:
    """Add the keys under the user's own column names, which a model may have been trained on."""
    columns = settings.requests.columns
    own = {getattr(columns, key): F.col(key) for key in REQUEST_KEYS}
    return requests.withColumns({n: c for n, c in own.items() if n not in requests.columns})


def available_columns(schema: StructType) -> dict[str, str]:
    """Return column -> Spark type of what a model can be given."""
    return {field.name: field.dataType.simpleString() for field in schema}


def default_inputs(settings: Settings) -> list[str]:
    """Return what a model without a signature gets: features, then profile attributes."""
    attributes = settings.users.columns.attributes if settings.users else ()
    return [*settings.requests.columns.payload, *attributes]
