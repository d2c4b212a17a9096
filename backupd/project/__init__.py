"""The Supabase project that is backed up: its tables and keys, pages of rows out."""
