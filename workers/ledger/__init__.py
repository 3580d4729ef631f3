"""The ledger: what exists and in what state. The only SQL; `workers.ledger.ledger.Ledger` is the door."""
