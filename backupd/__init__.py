"""backupd keeps a Supabase project safe: every night a complete, exact, proven backup, or a loud alarm.

The ways in are `cli`, `daemon` and `web`; `runner` runs one operation at a time; the verbs (`backup`, `verify`,
`restore`, …) are written against the machine rooms (`project`, `archive`, `store`, `catalog`, …), which stand on
`config`, `model` and `errors`. Imports run downwards only.
"""

__version__ = "0.1.0"
