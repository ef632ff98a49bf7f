"""Everything that vidbatch raises on purpose.

    VidbatchError
    ├── UsageError              exit 2: what a person typed or wrote can't be used
    │   ├── ManifestError           a manifest that can't be read at all
    │   ├── SettingsError           an option, variable or settings file
    │   └── RunConflict             OUT holds something that this command would not continue
    ├── PausedError             exit 3 or 4: a cap, the API or a guard wants a person first
    │   └── KeyMissing              no key in the environment or a file
    ├── SystemTrouble           exit 5: Redis, disk or a process
    │   ├── LedgerUnavailable       Redis does not answer; trying again later may work
    │   │   └── LedgerRefused           it lets us not in: a password, a rule or a certificate
    │   ├── LedgerMismatch          Redis holds another version's ledger, or another run's
    │   ├── StorageError            the disk refused
    │   └── WorkerTrouble           workers that don't start or don't come
    ├── Interrupted             exit 130: a person stopped it; the same goes on
    └── LifecycleError          a bug: an event that the state table does not know

Each message is one clear sentence for the person who reads it. Leaves are named for what the caller can do.
"""


class VidbatchError(Exception):
    """The root: anything that vidbatch raises on purpose."""


class UsageError(VidbatchError):
    """What a person typed or wrote can't be used; nothing was spent."""


class ManifestError(UsageError):
    """A manifest that can't be read at all."""


class SettingsError(UsageError):
    """An option, an environment variable or a line of the settings file that can't be used."""


class RunConflict(UsageError):
    """OUT holds an unfinished run of something else, or a dataset with other columns."""


class PausedError(VidbatchError):
    """A cap, the API or a guard stopped the run; a person has to do something first."""


class KeyMissing(PausedError):
    """No API key was given."""


class SystemTrouble(VidbatchError):
    """Redis, the disk or a process failed."""


class LedgerUnavailable(SystemTrouble):
    """Redis does not answer; the same call may work later."""


class LedgerRefused(LedgerUnavailable):
    """Redis lets us not in, or not do what is needed: a person has to change a password, a rule or a certificate."""


class LedgerMismatch(SystemTrouble):
    """Redis holds a ledger of another version, or is not the server that this run began on."""


class StorageError(SystemTrouble):
    """The disk refused a read or a write."""


class WorkerTrouble(SystemTrouble):
    """Workers that don't start, or that nobody runs."""


class Interrupted(VidbatchError):
    """A person stopped the run; the same call goes on with it."""


class LifecycleError(VidbatchError):
    """An event that the state table does not know: a bug, never a user's fault."""
