"""`python -m workers.results`: writes one study's result folder for a service, which must not do such work itself.

The order comes as JSON on stdin: the ledger's URL may hold a password, and everybody can list a process' arguments.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

from schemas.errors import WarmupBenchError
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.results.write import write_results

EXIT_DONE, EXIT_FAILED = 0, 1


def main(order: dict[str, Any]) -> int:
    """Exit status 0, or 1 and one line on stderr.

    `order`: study_id, ledger (path or URL), records (path or URL), folder, max_cpu_s.
    """
    # Whoever ordered this ends it in time; where that process is gone itself, the kernel does.
    resource.setrlimit(resource.RLIMIT_CPU, (order["max_cpu_s"], order["max_cpu_s"] + 5))
    folder = Path(order["folder"])
    places = Places(folder, order["ledger"], order["records"], data=folder, tracking_uri=None)
    try:
        with Ledger.open(order["ledger"], create=False) as ledger:
            write_results(ledger, order["study_id"], places, folder)
    except WarmupBenchError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return EXIT_FAILED
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
