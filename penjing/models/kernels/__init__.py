"""The arithmetic under the modules: one definition of each operation, fast where it can be."""
