"""Does the work: schedules, planning, training, records, ledger, tracking, analysis, cluster."""
