"""The words by which log lines are found: each line of ours bears one as its `event`, and each has one meaning.

`docs/logs.md` lists them; a test holds this list against the code.
"""

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

LIBRARY = "library"
"""The event of a line that a library wrote."""

CRASHED = "crashed"
"""The event of an error that nobody caught."""

EVENTS = {
    # a worker's life
    "worker_started": "a worker is about to serve: its roles, shifts, versions and the fingerprint of its key",
    "worker_stopping": "it was told to stop: it claims nothing more, and is gone within 30 s",
    "worker_stopped": "it is gone",
    "left_in_haste": "a shift did not end in time, and the worker left without it; its rows lapse and are taken over",
    "coordinator_lost": "the command that started this worker is gone, and the worker leaves, too",
    "settings_wrong": "the worker can't start as it was told to",
    CRASHED: "an error that nobody expected ended a thread, or the process",
    LIBRARY: "a line of a library, such as Celery or redis; `logger` says which",
    # the heartbeat
    "heartbeat_taken": "this worker's heartbeat is the one that acts, from now on",
    "heartbeat_left": "another one's acts, or none can while Redis is away",
    "role_unserved": "no living worker serves a role that runs need; they stand still until one does",
    "role_served": "one does again",
    "tick_failed": "a look at the ledger failed for an unforeseen reason; the next one is 0.2 s later",
    "duty_failed": "a duty beside the heartbeat failed for an unforeseen reason; it is tried again",
    "redis_away": "Redis does not answer, or not as it should; what was under way is told later. One line in 30 s",
    "redis_back": "it does again",
    "redis_refuses": "Redis does not let the worker in: a password, a rule or a certificate; the worker ends, with 5",
    "key_replaced": "the API key's file, or command, gives another key, which is used from now on",
    "readable_secret": "a file that holds a secret can be read by other users of the machine",
    # runs
    "run_seen": "the heartbeat that has just begun to act looks after this run, too",
    "run_opened": "a run has begun, or goes on from disk",
    "run_progress": "once a minute while a run is at work: rows, tokens, cost, and what it waits for",
    "run_state": "a run stops, is cancelled or is abandoned",
    "run_paused": "a run pauses, with the reason; nothing more is sent until a person acts",
    "run_resumed": "it goes on",
    "run_finished": "its dataset is published and its done marker is written",
    "storage_failed": "OUT refuses to be written, and the run pauses",
    "storage_absent": "OUT does not hold this run's files: is it mounted here?",
    "shift_failed": "a shift failed for an unforeseen reason; of write and control, the run pauses",
    "shift_ended": "at DEBUG: a shift is over",
    "foreign_ledger": "a run belongs to another version of vidbatch, and is left to its workers",
    "base_url_unsealed": "nobody who holds the key said that it may be sent to a run's address: nothing of the run is"
    " sent or polled until its command is given again, or somebody wrote a wrong address into Redis",
    "report_failed": "a run's report could not be made; its dataset is whole all the same",
    # metrics
    "metrics_ready": "the exporter serves its page",
    "metrics_stopped": "the exporter was told to stop, and is gone",
    # accounts
    "account_blocked": "the API refuses the account (401, 402, 403): nothing is sent until a command is given again",
    "account_unblocked": "the account is tried again",
    "throttled": "the API said that it is too much, or could not be reached; the whole account waits. One line for"
    " each account in ten seconds",
    # rows
    "row_unknown": "a POST may or may not have been billed, and nobody knows: the row is sent once more, or held. At"
    " most 20 lines in ten seconds from each process; the next one says how many were left out",
    "rows_failed": "how many rows failed, were refused or expired, or will be tried again, by why. One line in ten"
    " seconds for each run and process",
    "row_moved": "at DEBUG: one step of one row",
    "spilled": "Redis could not be told of rows in time; they are kept on this machine's disk",
    "spill_failed": "neither Redis nor the disk took what is known of rows, and why",
    "row_untold": "what was known of one such row: its id was paid for, and stands nowhere but in this line",
    # schedules and metrics
    "schedule_moved": "a firing of a schedule moved on: due, launching, running, ended with its exit code, skipped or"
    " missed, and why",
    "schedule_failed": "a schedule could not be looked after for an unforeseen reason; it is tried again",
    "notice_undelivered": "a schedule's webhook did not take a message, and why; it is tried again, or given up",
    "notice_failed": "a message to a schedule's webhook failed for an unforeseen reason",
    "read_failed": "`vidbatch metrics` could not read the ledger; the answer says so",
    # what waited on disk
    "replayed": "what was kept on disk was told to Redis, or why not",
}
"""Each event's meaning."""
