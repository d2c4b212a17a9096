"""The archive of one backup: its format, how it is written, read and recovered."""
