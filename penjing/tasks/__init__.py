"""Problems whose answers can be checked, the judges that check them, and the sandbox for code."""
