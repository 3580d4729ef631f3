"""From the ledger and the records to a result folder: tables, resolved spec, report. No torch, no Ray.

folder          whose a folder is, and copying one
trial_table     the table `trials` from the ledger
write           everything that a folder holds; takes a second to import (pyarrow, pandas, scipy)
report_version  of which end of the study its report is
"""
