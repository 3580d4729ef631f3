"""The only MLflow code: one run per trial (or cell), found or created by key, so that publishing again adds nothing.

    port             what a tracker must be able to do; two implementations, one contract suite (tests/tracking)
    mlflow_tracker   MLflow through `MlflowClient`, with the address passed explicitly
    memory_tracker   the same in memory, with the same limits
    publications     what a publisher is fed: plain data, nothing of SQL or Parquet
    publisher        publications -> runs; idempotent
    loop             pulls publications, retries, acknowledges; never in anyone's way
    prepare          a migrated SQLite store by copying instead of by migrating

Decisions, measured on MLflow 3.17.2, SQLAlchemy 2.1.9 and SQLite with two cores (`bench_publishing.py` repeats it):

- A batch of 1,000 points takes 60 to 80 ms, nearly all of it in SQLAlchemy's unit of work: 2 commits are 11 ms of it.
  The order of the points inside a batch does not matter, so they are sent in the order in which they come.
- All tags go into `create_run`; parameters and points share a batch; one `set_terminated` ends the run. Three calls a
  trial. `set_tag`, `log_param` and `update_run` would each add a call of two to four statements and a commit.
- The store is in SQLite's WAL mode, a lasting property of the file: 13 ms instead of 16 ms for those three calls, and
  someone who looks at the UI does not stop the publisher. MLflow has no switch for `PRAGMA synchronous`.
- On a fresh file MLflow runs its whole history of migrations (0.8 s alone, 7 s on a busy machine), and two processes
  that do so at once collide. A file migrated once per MLflow version is kept in the cache and copied: 50 ms, no race.
- One search page by page costs 1.3 ms a run, a search for one key 6 ms: after a restart all keys are read at once.
"""
