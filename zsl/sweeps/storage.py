"""Where a study is kept: a journal in a file, or a database."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from zsl.errors import InputError, require

SECRETS = ("password", "sslpassword")
# A dead connection, or a machine that died in the middle of a transaction, holds nobody up for
# long; the system's own limits are hours.
LIBPQ: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
    "options": "-c idle_in_transaction_session_timeout=60s",
}


def open_storage(storage: str) -> BaseStorage:
    """Opens a file, or a database by its URL; either is made where there is none.

    Raises:
        InputError: It can't be opened, or is another kind of file.
    """
    if "://" in storage:
        return _open_database(storage)
    path = Path(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Optuna would write into any file.
    require(
        not path.exists() or (path.is_file() and path.open("rb").read(9) in (b"", b'{"op_code')),
        f"The storage {storage} is not a study of Optuna; expected a new file, or a sweep's.",
    )
    return JournalStorage(JournalFileBackend(storage))


def shown(storage: str) -> str:
    """A storage as messages name it, without a password.

    >>> shown("postgresql://ann:secret@db/sweeps?sslpassword=secret")
    'postgresql://ann:***@db/sweeps'
    """
    if "://" not in storage:
        return storage
    url = _parse(storage).difference_update_query(SECRETS)
    return url.render_as_string(hide_password=True)


def is_outage(error: StorageInternalError) -> bool:
    """Whether a database may answer again later: a lost connection, a restart, a lock."""
    cause = error.__cause__
    is_lost = isinstance(cause, exc.DBAPIError) and cause.connection_invalidated
    return is_lost or isinstance(
        cause, exc.OperationalError | exc.InterfaceError | exc.TimeoutError
    )


def reason_of_storage(error: BaseException, storage: str) -> str:
    """What a database's driver said, on one line and without the password."""
    cause = error.__cause__ if isinstance(error, StorageInternalError | ImportError) else error
    text = " ".join(str(getattr(cause, "orig", None) or cause or error).split())
    text = text.partition(" Is the server running")[0]
    url = _parse(storage)
    for secret in filter(None, (url.password, *map(url.query.get, SECRETS))):
        text = text.replace(str(secret), "***").replace(quote(str(secret)), "***")
    return text.removesuffix(".")


@contextmanager
def refusals(storage: str) -> Iterator[None]:
    """Turns errors of a database into an `InputError`."""
    try:
        yield
    except (exc.SQLAlchemyError, StorageInternalError, ImportError, RuntimeError) as error:
        if "://" not in storage:
            raise
        reason = reason_of_storage(error, storage)
        advice = (
            "; install its driver, for PostgreSQL: pip install 'psycopg[binary]'"
            if isinstance(error, ImportError)
            else ""
        )
        # The original would show the URL in a traceback.
        raise InputError(
            f"The storage {shown(storage)} can't be opened: {reason}{advice}."
        ) from None


def _open_database(storage: str) -> BaseStorage:
    url = _parse(storage)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")  # Older SQLAlchemy would take psycopg2.
    is_libpq = url.drivername in ("postgresql+psycopg", "postgresql+psycopg2")
    arguments = {key: value for key, value in LIBPQ.items() if is_libpq and key not in url.query}
    engine = {"pool_pre_ping": True, "connect_args": arguments}
    for attempt in range(10):
        try:
            return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=engine)
        except (exc.IntegrityError, exc.ProgrammingError):
            # Another machine makes the tables at this moment.
            if attempt == 9:
                raise
            time.sleep(random.uniform(0.05, 0.3))
    raise AssertionError


def _parse(storage: str) -> URL:
    try:
        return make_url(storage)
    except (exc.ArgumentError, ValueError):
        # Its error may show the password.
        scheme = storage.partition("://")[0]
        raise InputError(
            f"The storage {scheme}://... can't be opened, for it is not a URL; expected "
            "postgresql://USER@HOST:PORT/DATABASE, with :, @ and / in a password as %3A, %40, %2F."
        ) from None
