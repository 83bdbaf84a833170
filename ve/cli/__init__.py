"""The command line: a file a noun; each command parses, calls one function, prints.

Rule: stdout is the answer, stderr the narration, and only `__main__` turns errors into exit codes.
"""
