"""The core without a clock, a disk or a process: the table, its laws and a model of its world."""
