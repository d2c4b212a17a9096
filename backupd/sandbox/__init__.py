"""A throwaway project on this machine."""
