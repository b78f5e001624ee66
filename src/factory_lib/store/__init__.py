"""The store: one contract; an embedded backend, InfluxDB 2.x and PostgreSQL."""

from contextlib import closing

from factory_lib.settings import Settings
from factory_lib.store.backend import Backend
from factory_lib.store.base import Store


def open_store(settings: Settings, *, lazy: bool = False) -> Store:
    """Open the profile's store; the backend is imported only when it is chosen.

    ``lazy``: a store that is missing reads as empty, and is made by the first write.

    Raises
    ------
    StoreUnavailable
        If it cannot be reached.
    OriginMismatch, SchemaMismatch
        If it belongs to another world or version.
    ConfigError
        If the environment does not say where the server is, or the server refuses it.
    """
    return Store(_backend(settings, lazy), settings.catalogue)


def create_store(settings: Settings) -> bool:
    """Make and stamp the profile's store where it is missing; return whether it was.

    In InfluxDB that is a bucket without retention and with long shards.

    Raises
    ------
    ConfigError
        If the user or token of a server may not make it, or the bucket does not keep all
        it gets.
    """
    if settings.store.backend == "influx":
        from factory_lib.store.influx import create_bucket

        made = create_bucket(settings.influx, settings.secrets.influxdb_v2_token)
        open_store(settings).close()
        return made
    from factory_lib.store.sql import SqlBackend

    with closing(_backend(settings, lazy=True)) as backend:
        assert isinstance(backend, SqlBackend)
        return backend.make_lasting()


def _backend(settings: Settings, lazy: bool) -> Backend:
    if settings.store.backend == "influx":
        from factory_lib.store.influx import InfluxBackend

        return InfluxBackend(
            settings.influx,
            settings.secrets.influxdb_v2_token,
            settings.origin,
            settings.paths.data,
            settings.catalogue,
            lazy=lazy,
        )
    if settings.store.backend == "postgres":
        from factory_lib.store.postgres import PostgresBackend

        dsn = settings.secrets.postgres_dsn
        return PostgresBackend(dsn, settings.schema, settings.origin, lazy=lazy)
    from factory_lib.store.sqlite import SqliteBackend

    return SqliteBackend(settings.paths.store, settings.origin, lazy=lazy)
