"""How fast backupd is: `make bench`."""
