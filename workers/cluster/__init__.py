"""The only Ray code: the driver of a study, its plan, and the long-lived trainers that it feeds."""
