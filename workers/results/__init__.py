"""From the ledger and the records to a result folder: tables, resolved spec, report. No torch, no Ray."""

from workers.results.folder import claim_folder, copy_results, default_folder_name
from workers.results.write import write_results

__all__ = ["claim_folder", "copy_results", "default_folder_name", "write_results"]
