"""Every error of the library, each built from data and ending in a next step.

::

    FactoryError
    ├── BadInput                 what a person typed, or a file they gave, cannot be used
    │   ├── ConfigError          config/factory.toml or the environment
    │   ├── UnknownSeries        a name that the catalogue does not hold
    │   └── ImportFileError      a data file that cannot be read as what it claims to be
    ├── SourceError              a provider did not give what was asked
    │   ├── AuthError            the key is missing, malformed, expired or not entitled
    │   ├── QuotaError           asked too often; carries when to ask again
    │   ├── NoDataYet            the provider has nothing for that window (yet)
    │   ├── BadRange             the window is longer or older than the provider allows
    │   ├── ServerError          5xx, or a firewall's page instead of data
    │   ├── Unreachable          no answer: name, connection, time-out, reset
    │   │   ├── ReadTimeout      connected, but the answer took too long
    │   │   └── BadCertificate   its certificate cannot be checked; asking again does not help
    │   ├── MalformedResponse    an answer that is not what the provider documents
    │   └── CircuitOpen          not asked at all: the host failed too often just now
    ├── StoreError
    │   ├── StoreUnavailable     the store cannot be reached; never read as "no data"
    │   │   ├── StoreDamaged     its file is damaged; a backup brings it back
    │   │   └── StoreRefused     the machine refuses its file: a full disk, a missing right
    │   ├── OriginMismatch       simulated and real data would have been mixed
    │   ├── SchemaMismatch       the store was written by another version
    │   └── WriteNotConfirmed    what was written was not there when read again
    ├── MachineError             the disk, a file, a database or the memory of this machine
    ├── TooFewRows               not enough real history to train on
    ├── ModelError
    │   ├── RegistryUnavailable  the registry is away, or its database cannot be used
    │   ├── ModelMissing         no version carries the alias
    │   └── ModelIncompatible    the stored version cannot be loaded here
    └── JobError
        ├── JobLocked            the same job is already running
        ├── LockLost             its lock was lost on the way: another host may be running it
        ├── NotebookFailed       a cell raised
        └── UnknownParameter     a parameter that the notebook does not declare

``exit_code`` is what the command line returns: 1 failed, 2 unusable input, 69 a service
is away, 74 the machine refuses, 75 locked.
"""

from datetime import datetime
from typing import Any


class FactoryError(Exception):
    """The root: a sentence that says what happened, and one that says what to do next."""

    exit_code = 1
    default_next_step = ""

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        self.message = message
        self.next_step = self.default_next_step if next_step is None else next_step
        super().__init__(f"{message} {self.next_step}".strip())

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes whole: a subclass is made from data, not from its sentence."""
        return _revived, (type(self), self.args, vars(self))


def _revived(cls: type[FactoryError], args: tuple[Any, ...], data: dict[str, Any]) -> FactoryError:
    error = cls.__new__(cls, *args)
    vars(error).update(data)
    return error


class BadInput(FactoryError):
    """Something a person gave cannot be used as it is."""

    exit_code = 2


class NotThere(BadInput):
    """A page, file or run that a request names does not exist."""


class ConfigError(BadInput):
    """A setting is missing, unknown or out of range; names its place and file."""

    def __init__(self, where: str, problem: str, *, file: str = "config/factory.toml") -> None:
        check = "doctor" if file == "environment" else "config check"
        super().__init__(
            f"{file}: [{where or 'file'}] {problem}.",
            next_step=f"Correct it and run `factory {check}`.",
        )


class UnknownSeries(BadInput, KeyError):
    """The catalogue holds no series of that name."""

    def __init__(self, name: str, names: list[str]) -> None:
        super().__init__(f"There is no series {name!r}.", next_step=f"Known: {', '.join(names)}.")

    __str__ = Exception.__str__  # a KeyError would quote its message


class ImportFileError(BadInput):
    """A data file cannot be read as the format it was taken for."""

    def __init__(
        self, file: str, problem: str, *, next_step: str = "Nothing of this file was stored."
    ) -> None:
        self.problem = problem
        super().__init__(f"{file}: {problem}.", next_step=next_step)


class SourceError(FactoryError):
    """A provider did not give what was asked.

    ``retryable`` says whether asking again soon can succeed.
    """

    exit_code = 69
    retryable = False

    def __init__(
        self,
        source: str,
        detail: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.detail = detail
        self.status = status
        self.retry_after_s = retry_after_s
        code = f" (HTTP {status})" if status is not None else ""
        super().__init__(f"{source}: {detail}{code}.")


class AuthError(SourceError):
    """The key is missing, malformed, expired, or not entitled to this resource."""

    default_next_step = "Check the key with `factory doctor`."


class QuotaError(SourceError):
    """Too many requests; the next attempt has to wait."""

    retryable = True
    default_next_step = "The next run asks again."


class NoDataYet(SourceError):
    """The provider has nothing for the window: not published yet, or never."""

    default_next_step = "The next run asks again when it can exist."


class BadRange(SourceError):
    """The window is longer, older or otherwise other than the provider allows."""

    default_next_step = "Ask for a shorter or later window."


class ServerError(SourceError):
    """The provider's side failed, or a firewall answered in its place."""

    retryable = True
    default_next_step = "The next run asks again."


class Unreachable(SourceError):
    """No answer arrived: name resolution, connection, time-out, or a reset in mid-body."""

    retryable = True
    default_next_step = "Check the network with `factory doctor`; the next run asks again."


class ReadTimeout(Unreachable):
    """The host is there, and its answer took too long."""


class BadCertificate(Unreachable):
    """The host's certificate, or its chain, cannot be verified."""

    retryable = False
    default_next_step = (
        "Its chain may be incomplete: name a file with the missing certificates in "
        "`ca_bundle` of its table in [sources]."
    )


class NoSimulator(SourceError):
    """A simulated profile asks its providers, and no simulator runs."""

    default_next_step = (
        "In a notebook, start `factory simulate` and set FACTORY_SIMULATOR_URL to what it prints."
    )

    def __init__(self, source: str) -> None:
        super().__init__(
            source, "no simulator runs; `factory run` and `factory backfill` start one themselves"
        )


class MalformedResponse(SourceError):
    """The answer is not what the provider documents; nothing of it was stored."""

    default_next_step = "If it persists, the provider changed its format: nothing was stored."


class CircuitOpen(SourceError):
    """The host failed too often in a row and is left alone for a while."""

    def __init__(self, source: str, until: datetime, shown: str) -> None:
        self.until = until
        super().__init__(source, f"not asked until {shown}, after repeated failures")


class StoreError(FactoryError):
    """The store refused or failed."""


class StoreUnavailable(StoreError):
    """The store cannot be reached; nothing is known about what it holds."""

    exit_code = 69
    default_next_step = "Check it with `factory doctor`."


class StoreDamaged(StoreUnavailable):
    """The file of the store is damaged: asking again does not help, a backup does."""

    exit_code = 74
    default_next_step = "Restore a backup: `factory restore`."


class StoreRefused(StoreUnavailable):
    """The machine refuses the file of the store: a full disk, a missing right, another writer."""

    exit_code = 74


class OriginMismatch(StoreError):
    """Simulated and real data would have been mixed."""

    exit_code = 2
    default_next_step = "Choose another profile with --profile."


class SchemaMismatch(StoreError):
    """The store was written with another schema version."""

    exit_code = 2


class WriteNotConfirmed(StoreError):
    """Rows were written and not found again; the write can be repeated safely."""

    default_next_step = "Run the same command again: it completes the write."


class MachineError(FactoryError):
    """The machine refuses: a full disk, a damaged database, a missing right, no memory."""

    exit_code = 74


class TooFewRows(FactoryError):
    """There is not enough real history for what was asked."""

    def __init__(self, what: str, rows: int, needed: int) -> None:
        self.rows = rows
        self.needed = needed
        super().__init__(
            f"{what}: {rows} usable rows, {needed} are needed.",
            next_step="Load more history with `factory backfill --since DATE` or "
            "`factory import FILE`.",
        )


class ModelError(FactoryError):
    """A model cannot be had."""


class RegistryUnavailable(ModelError):
    """The registry does not answer, or its database is damaged or locked."""

    exit_code = 69
    default_next_step = "See `factory doctor`; `factory restore` brings champions back."

    def __init__(self, why: str) -> None:
        super().__init__(f"The registry of models cannot be used: {why.rstrip('.')}.")


class ModelMissing(ModelError):
    """No registered version carries the alias."""

    default_next_step = "Train one with `make train`."


class ModelIncompatible(ModelError):
    """A stored version cannot be loaded by this environment."""

    default_next_step = "Train again with `make train`."


class JobError(FactoryError):
    """A job could not run or did not finish."""


class JobLocked(JobError):
    """The same job is running in another process."""

    exit_code = 75


class LockLost(JobError):
    """The lock of a running job was lost: another host may have taken it."""

    exit_code = 69
    default_next_step = "Nothing to do: the next tick of any host runs the job again."


class NotebookFailed(JobError):
    """A cell of the notebook raised; the report shows where."""


class UnknownParameter(JobError):
    """A parameter that the notebook does not declare."""

    exit_code = 2

    def __init__(self, notebook: str, unknown: list[str], declared: list[str]) -> None:
        super().__init__(
            f"{notebook} has no parameter {', '.join(sorted(unknown))}.",
            next_step=f"It takes {', '.join(sorted(declared))}.",
        )
