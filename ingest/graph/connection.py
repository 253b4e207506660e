"""The connection to Neo4j over Bolt: which server, whether it can be used, and how statements run.

A `Connection` is verified once when it is opened: server reachable, password correct, version
supported, database present. Any problem is a `UserError` that names what was found and the fix.
Values are always sent as parameters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar, cast

import neo4j
from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConfigurationError,
    DriverError,
    Neo4jError,
    ServiceUnavailable,
    SessionExpired,
    TransientError,
)

from scircuit.core.errors import UserError, quoted
from scircuit.ingest.graph.bolt_address import require_bolt

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Row = dict[str, Any]
"""One row of an answer; its values have the types that the statement returns."""

OLDEST_5 = (5, 26)
CALENDAR_YEARS = (2025, 2026)
_UNAVAILABLE = (ServiceUnavailable, SessionExpired, TransientError, OSError)


class DatabaseAway(UserError):
    """The database does not answer now; the same call may succeed later."""


@dataclass(frozen=True)
class Target:
    """Where a database is and how to log in.

    Attributes
    ----------
    uri
        Bolt address, such as ``bolt://127.0.0.1:7687``.
    user, password
        Credentials.
    database
        Name of the database; Neo4j Community has ``neo4j``.
    study
        Folder of the study whose own server this is; empty for a server that the user named.
    """

    uri: str
    user: str
    password: str = field(repr=False)
    database: str = "neo4j"
    study: str = ""


def target_from_env(environ: Mapping[str, str] | None = None) -> Target | None:
    """Return the user's own server, if named by NEO4J_URI, NEO4J_USERNAME, NEO4J_PASSWORD and
    NEO4J_DATABASE.

    Parameters
    ----------
    environ
        Variables to read (default: those of the process).

    Returns
    -------
    Target or None
        None when no variable is set: the study's own server is used.

    Raises
    ------
    UserError
        If some are set but NEO4J_URI or NEO4J_PASSWORD is not: an incomplete address must not
        select another server.
    """
    variables = os.environ if environ is None else environ
    names = ("NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD", "NEO4J_DATABASE")
    values = {name: variables.get(name, "") for name in names}
    given = [name for name in names if values[name]]
    if not given:
        return None
    missing = [name for name in ("NEO4J_URI", "NEO4J_PASSWORD") if not values[name]]
    if missing:
        raise UserError(
            f"{', '.join(given)} is set, but not {' and '.join(missing)}",
            "set NEO4J_URI, NEO4J_USERNAME (default neo4j) and NEO4J_PASSWORD together, or none of"
            " them to use the study's own server",
        )
    return Target(
        values["NEO4J_URI"],
        values["NEO4J_USERNAME"] or "neo4j",
        values["NEO4J_PASSWORD"],
        values["NEO4J_DATABASE"] or "neo4j",
    )


def require_supported(version: str) -> tuple[int, int]:
    """Return (major, minor) of a supported Neo4j version: 5.26 or newer 5.x, 2025.x or 2026.x.

    Raises
    ------
    UserError
        For any other version.
    """
    match = re.match(r"(\d+)\.(\d+)", version)
    major, minor = (int(match[1]), int(match[2])) if match else (0, 0)
    if major in CALENDAR_YEARS or (major == OLDEST_5[0] and minor >= OLDEST_5[1]):
        return major, minor
    raise UserError(
        f"the server is Neo4j {version or 'of unknown version'}; supported are 5.26 and newer 5.x,"
        " 2025.x and 2026.x",
        "upgrade the server, or unset NEO4J_URI to use the study's own one (scircuit db start)",
    )


def rows_of(tx: neo4j.ManagedTransaction, cypher: str, /, **params: object) -> list[Row]:
    """Run one statement inside a transaction and return its rows."""
    return [record.data() for record in tx.run(cast("LiteralString", cypher), params)]


class Connection:
    """An open, verified connection; a context manager. Open it with `Connection.open`."""

    def __init__(self, driver: neo4j.Driver, target: Target, version: str) -> None:
        self._driver = driver
        self.target = target
        self.version = version
        self._revive: Callable[[], Target] | None = None

    @classmethod
    def open(
        cls,
        target: Target,
        *,
        timeout: float = 10.0,
        retry_seconds: float = 5.0,
        revive: Callable[[], Target] | None = None,
    ) -> Connection:
        """Connect and verify address, password, version and database, with one login attempt.

        Parameters
        ----------
        target
            Address and credentials.
        timeout
            Seconds to wait for the server's answer.
        retry_seconds
            How long `write` repeats a transaction after transient failures.
        revive
            Starts the study's own server if it has ended, and returns where it answers now. A call
            that found no server is then made once more there: statements are idempotent. Without
            it the call fails.

        Raises
        ------
        DatabaseAway
            If nothing answers at the address.
        UserError
            If the address is malformed, the password wrong, the version unsupported or the database
            unknown.
        """
        try:
            connection = cls._verified(target, timeout, retry_seconds)
        except DatabaseAway:
            if revive is None:
                raise
            connection = cls._verified(revive(), timeout, retry_seconds)
        connection._revive = revive
        return connection

    @classmethod
    def _verified(cls, target: Target, timeout: float, retry_seconds: float) -> Connection:
        require_bolt(target.uri)
        try:
            driver = neo4j.GraphDatabase.driver(
                target.uri,
                auth=(target.user, target.password),
                connection_timeout=timeout,
                user_agent="scircuit",
                connection_acquisition_timeout=timeout + 5,
                max_transaction_retry_time=retry_seconds,
                notifications_min_severity="OFF",
                telemetry_disabled=True,
            )
        except (ConfigurationError, ValueError) as error:
            raise UserError(
                f"{target.uri!r} is not a Bolt address: {error}", "write it as bolt://HOST:PORT"
            ) from error
        try:
            # Unlike a query, this is not repeated: an address without a server fails at once.
            driver.verify_connectivity()
            answer = driver.execute_query(
                "CALL dbms.components() YIELD name, versions WHERE name = 'Neo4j Kernel' RETURN"
                " versions[0] AS version",
                database_=target.database,
            )
            version = str(answer.records[0]["version"]) if answer.records else ""
            require_supported(version)
        except BaseException as error:
            driver.close()
            if isinstance(error, (Neo4jError, DriverError, OSError)):
                raise _explained(error, target) from error
            raise
        return cls(driver, target, version)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all sockets; closing twice is harmless."""
        self._driver.close()

    def run(self, cypher: str, /, **params: object) -> list[Row]:
        """Run one statement and return its rows as dictionaries.

        Raises
        ------
        DatabaseAway
            If the database does not answer.
        UserError
            If it refuses the statement; the message is the server's.
        """
        return self._ask(cypher, params, lambda result: [record.data() for record in result])

    def frame(self, cypher: str, /, **params: object) -> pd.DataFrame:
        """Run one statement and return its rows as a data frame, which has the columns even without
        a row; errors as `run`.
        """
        return self._ask(cypher, params, lambda result: result.to_df())

    def graph(self, cypher: str, /, **params: object) -> neo4j.graph.Graph:
        """Run a statement; return the nodes and relationships of its answer; errors as `run`."""
        return self._ask(cypher, params, lambda result: result.graph())

    def _ask(
        self, cypher: str, params: Mapping[str, object], transform: Callable[[neo4j.Result], T]
    ) -> T:
        def call() -> T:
            return self._driver.execute_query(
                neo4j.Query(cast("LiteralString", cypher)),
                dict(params),
                database_=self.target.database,
                result_transformer_=transform,
            )

        return self._healed(call)

    def _healed(self, call: Callable[[], T]) -> T:
        """Make a call; where no server answered and it can be started again, once more."""
        try:
            return self._explaining(call)
        except DatabaseAway:
            if self._revive is None:
                raise
        again = Connection.open(self._revive(), revive=self._revive)
        self._driver.close()
        self._driver, self.target, self.version = again._driver, again.target, again.version
        return self._explaining(call)

    def _explaining(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (OverflowError, UnicodeEncodeError) as error:
            raise UserError(
                f"a value or the statement cannot be sent to the database: {error}",
                "give whole numbers from -2**63 to 2**63 - 1, and text that is valid Unicode",
            ) from error
        except (Neo4jError, DriverError, OSError) as error:
            raise _explained(error, self.target) from error

    def autocommit(self, cypher: str, /, **params: object) -> list[Row]:
        """Run a statement outside a managed transaction, which ``CALL {} IN TRANSACTIONS`` needs.

        It is never repeated.
        """

        def call() -> list[Row]:
            with self._driver.session(database=self.target.database) as session:
                return [
                    record.data()
                    for record in session.run(
                        neo4j.Query(cast("LiteralString", cypher)), dict(params)
                    )
                ]

        return self._explaining(call)

    def write(self, work: Callable[[neo4j.ManagedTransaction], T]) -> T:
        """Run `work(tx)` in one transaction, repeated from its start after a transient failure.

        `work` may therefore run several times, and even after a commit whose acknowledgement was
        lost: it must be idempotent. An exception raised in it rolls everything back.

        Raises
        ------
        DatabaseAway
            If the failure persists.
        UserError
            If the server refuses a statement.
        """

        def call() -> T:
            with self._driver.session(database=self.target.database) as session:
                return session.execute_write(work)

        return self._healed(call)


def _explained(error: Exception, target: Target) -> UserError:
    """What an error of the driver means, and what to do."""
    code = getattr(error, "code", None) or ""
    where = f"at {target.uri}"
    if isinstance(error, UserError):
        return error
    if "AuthenticationRateLimit" in code:
        return UserError(
            f"the database {where} refuses logins for a while after too many wrong passwords",
            f"wait some seconds, then {_right_password(target)}",
        )
    if "CredentialsExpired" in code:
        return UserError(
            f"the password of user {target.user!r} {where} has expired",
            "set a new one in the Neo4j Browser",
        )
    if isinstance(error, AuthError):
        return UserError(
            f"the database {where} refuses user {target.user!r}: wrong user name or password",
            _right_password(target)
            if target.study
            else "give the correct NEO4J_USERNAME and NEO4J_PASSWORD, or unset NEO4J_URI to use the"
            " study's own server",
        )
    if "DatabaseNotFound" in code or "DatabaseNotFound" in str(error):
        return UserError(
            f"the server {where} has no database {target.database!r}",
            "set NEO4J_DATABASE to one it has (Community: neo4j)",
        )
    if "MemoryPoolOutOfMemory" in code or "OutOfMemory" in code:
        return UserError(
            f"the database {where} is out of memory: {error}",
            f"give it a larger heap: scircuit db stop{_study(target)}, then scircuit db start"
            f" --heap 2g{_study(target)}",
        )
    if isinstance(error, ConfigurationError):
        return UserError(
            f"cannot use the server {where}: {error}",
            "only Neo4j 5.26+, 2025.x and 2026.x are supported",
        )
    if isinstance(error, _UNAVAILABLE):
        return DatabaseAway(
            f"no database answers {where} ({type(error).__name__}: {_first_line(error)})",
            _server_advice(target),
        )
    if isinstance(error, ClientError):
        return UserError(
            f"the database refused the statement: {getattr(error, 'message', None) or error}",
            "correct the statement",
        )
    return UserError(
        f"the database {where} failed: {type(error).__name__}: {_first_line(error)}",
        _server_advice(target),
    )


def _study(target: Target) -> str:
    return f" --study {quoted(target.study)}" if target.study else ""


def _server_advice(target: Target) -> str:
    if target.study:
        return f"start the study's server again: scircuit db start{_study(target)}"
    return "check the address (NEO4J_URI) and that the server runs"


def _right_password(target: Target) -> str:
    if target.study:
        return f"write the server's password into {Path(target.study) / 'neo4j' / 'password'}"
    return "give the correct NEO4J_USERNAME and NEO4J_PASSWORD"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
