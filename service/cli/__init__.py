"""The command line: one file per command. Heavy imports happen inside a command, after its first line is printed."""
